"""Skills at rest: SKILL.md folders, and the libraries that say which of them serve a task."""

from imprint.skills.library import SkillLibrary, load_library
from imprint.skills.skill import Skill

__all__ = ["Skill", "SkillLibrary", "load_library"]
