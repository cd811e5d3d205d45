"""Where the work runs: `local.py` has the weights, `endpoint.py` asks a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.recipe import Recipe
    from imprint.security.vetting import Override
    from imprint.skills.library import SkillLibrary

__all__ = ["make_engine"]


def make_engine(
    recipe: Recipe,
    model: str | Path | None = None,
    trust: Override | None = None,
    library: SkillLibrary | None = None,
) -> Engine:
    """The engine that a recipe asks for; `model` and `library` are in place of the recipe's, `trust` names
    skills beside the recipe's.

    Raises:
        TrustError: a skill is refused.
        ImprintError: any part of the recipe that cannot be had.
    """
    if recipe.endpoint is not None:
        from imprint.engine.served import EndpointEngine

        return EndpointEngine(recipe, model, trust, library)
    from imprint.engine.local import LocalEngine

    return LocalEngine(recipe, model, trust, library)
