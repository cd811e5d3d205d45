from dataclasses import dataclass, field
from pathlib import Path
@dataclass(frozen=True)
class Skill:
    name: str
    description: str
    body: str
    license: str | None = None
    compatibility: str | None = None
    metadata: dict = field(default_factory=dict)
    allowed_tools: str | None = None
    path: Path | None = None
