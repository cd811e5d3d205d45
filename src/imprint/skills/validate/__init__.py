"""What the specification says of a SKILL.md."""

from imprint.skills.validate.issue import Issue, ValidationReport
from imprint.skills.validate.spec import validate

__all__ = ["Issue", "ValidationReport", "validate"]
