"""The methods: one file each, in families."""
