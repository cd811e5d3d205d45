"""AgentOCR: the history as a picture, and no skill in the context, ever (the visual baseline of SKILL0's tables).

GRPO with a prompt of its own at every turn: the task and what is seen now as text, all that came before as pixels. The
policy says by how much its next picture is compressed (`context.compression`), and every so-manieth step rewards it for
it (`reward.compression_bonus`). Described in SKILL0 (arXiv 2604.02268, sections 3 and 4), as its baseline.
"""

from __future__ import annotations

from imprint.engine.local import LocalEngine
from imprint.errors import RecipeError
from imprint.methods.weights.grpo import Grpo
from imprint.runs.run import Run
from imprint.support.progress import Progress


class AgentOCR(Grpo):
    """GRPO's loop over contexts with a drawn history.

    Raises:
        RecipeError: the history is not drawn.
    """

    def __init__(self, engine: LocalEngine, run: Run, progress: Progress) -> None:
        if engine.recipe.context.history != "image":
            raise RecipeError(
                "agentocr reads its history from a picture",
                key="context.history",
                hint="set context.history: image, or use the method grpo",
            )
        super().__init__(engine, run, progress)
