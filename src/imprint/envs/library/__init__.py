"""The world `library`: programs in a made package whose names say nothing (docs/worlds/library.md)."""
