"""YAML files that people write: a mapping, each key once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from imprint.errors import RecipeError


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        RecipeError: it cannot be read, or holds something else.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError("is not UTF-8 text", where=path, hint="save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "cannot be parsed"
        line = None if mark is None else mark.line + 1
        raise RecipeError(f"broken YAML: {what}", where=path, line=line, hint="fix that line") from error
    if not isinstance(values, dict):
        raise RecipeError(
            "is not a mapping of keys to values", where=path, hint="`imprint recipes demo` prints an example"
        )
    return values


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: which of the two was meant?"""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
