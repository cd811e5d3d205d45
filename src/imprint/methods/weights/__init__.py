"""Methods that change the weights."""
