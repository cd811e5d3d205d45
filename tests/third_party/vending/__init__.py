"""A world of its own: vending machines, old, new and clever."""
