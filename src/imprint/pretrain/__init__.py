"""How the small base policies are made."""
