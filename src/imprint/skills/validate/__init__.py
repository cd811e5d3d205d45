"""What the specification says of a SKILL.md."""
