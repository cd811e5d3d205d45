"""Imprint turns agent skills into model weights."""

__version__ = "0.1.0"
