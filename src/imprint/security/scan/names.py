"""Names that are one slip of the fingers away from a well-known one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import resources

import yaml

SHORTEST = 6


@lru_cache(maxsize=1)
def _known() -> dict[str, tuple[str, ...]]:
    folder = resources.files("imprint.security.scan") / "rules"
    found: dict[str, tuple[str, ...]] = {}
    for file in ("names.yaml", "hosts.yaml"):
        loaded = yaml.safe_load((folder / file).read_text(encoding="utf-8"))
        found |= {key: tuple(map(str, values)) for key, values in loaded.items()}
    return found


def is_installer(address: str) -> bool:
    """Whether an address is where a well-known project publishes its installer."""
    bare = address.strip("'\"").partition("://")[2] or address
    return bare.startswith(_known()["installers"])


def skill_lookalike(name: str) -> str | None:
    """The well-known name that a skill's name imitates."""
    found = _near(name, _known()["skills"])
    if found is None:
        for part in name.split("-"):
            found = found or _near(part, (*_known()["parts"], *_known()["packages"]))
    return found


def package_lookalike(spec: str) -> str | None:
    """The well-known package that `name@version` or `@scope/name` imitates."""
    for part in _parts(spec):
        found = _near(part, _known()["packages"])
        if found is not None:
            return found
    return None


def _parts(spec: str) -> Iterator[str]:
    spec = spec.split("==")[0].split("[")[0]
    scope, slash, name = spec.rpartition("/")
    if slash and scope.startswith("@"):
        yield scope
    yield name.partition("@")[0] if not name.startswith("@") else name


def _near(name: str, known: tuple[str, ...]) -> str | None:
    name = name.lower()
    if len(name) < SHORTEST or name in known or any(name in (f"{word}s", f"{word}es") for word in known):
        return None
    return next((word for word in known if len(word) >= SHORTEST and _slip(name, word)), None)


def _slip(name: str, word: str) -> bool:
    """Two letters swapped, one doubled, or one left out, within the word: what typing does and readers overlook."""
    if len(name) == len(word):
        differing = [place for place, (a, b) in enumerate(zip(name, word, strict=True)) if a != b]
        return (
            len(differing) == 2
            and differing[1] == differing[0] + 1
            and name[differing[0]] == word[differing[1]]
            and name[differing[1]] == word[differing[0]]
        )
    if len(name) == len(word) + 1:  # doubled
        return any(name[i] == name[i - 1] and name[:i] + name[i + 1 :] == word for i in range(1, len(name)))
    if len(name) == len(word) - 1:  # left out, not at an end
        return any(word[:i] + word[i + 1 :] == name for i in range(1, len(word) - 1))
    return False
