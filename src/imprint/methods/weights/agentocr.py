"""AgentOCR: the history as a picture, and no skill in the context, ever (the visual baseline of SKILL0's tables).

GRPO with a prompt of its own at every turn: the task and what is seen now as text, all that came before as pixels. The
policy chooses the compression of its next picture (`context.compression`), and every N steps it is rewarded for it
(`reward.compression_bonus`, `reward.compression_interval`). Described in SKILL0 (arXiv 2604.02268, sections 3 and 4).
"""

from __future__ import annotations

from imprint.errors import RecipeError
from imprint.methods.base import MethodSpec
from imprint.methods.weights.grpo import Grpo
from imprint.recipe import Recipe

__all__ = ["SPEC"]


def check(recipe: Recipe) -> None:
    """See that the history is drawn.

    Raises:
        RecipeError: it is not.
    """
    if recipe.context.history != "image":
        raise RecipeError(
            "agentocr reads its history from a picture",
            key="context.history",
            hint="set context.history: image, or use the method grpo",
        )


SPEC = MethodSpec(Grpo, paced=(), check=check)
