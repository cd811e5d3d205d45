"""Skill banks of other systems, read and written."""
