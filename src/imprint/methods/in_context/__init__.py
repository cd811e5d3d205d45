"""Methods that change what is shown."""
