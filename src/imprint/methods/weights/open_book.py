"""Open-book fine-tuning: the episodes of `closed_book`, learned under the prompts they were played with.

SE-Bench's control (arXiv 2602.04811): the same successes, the same loss, and the skills still in the prompt. What it
gains without skills is no knowledge taken from their text; what it gains with them is better reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imprint.errors import RecipeError
from imprint.measurement.conditions import WITH
from imprint.methods.base import MethodSpec
from imprint.methods.weights.closed_book import ClosedBook, Imitation, check_rounds

if TYPE_CHECKING:
    from imprint.recipe import Recipe

__all__ = ["SPEC", "OpenBook"]


class OpenBook(ClosedBook):
    """`ClosedBook` that learns under the prompt with the skills."""

    learned_under = WITH


def check_reading(recipe: Recipe) -> None:
    """Refuse what the method does anyway.

    Raises:
        RecipeError: `imitation.reading` is set, or there are more rounds than steps.
    """
    check_rounds(recipe)
    if recipe.section("imitation", Imitation).reading:
        raise RecipeError(
            "has no effect: open_book learns every episode with the skills in the prompt",
            key="imitation.reading",
            hint="leave it out, or use method: closed_book",
        )


SPEC = MethodSpec(OpenBook, sections={"imitation": Imitation}, paced=None, check=check_reading, least_group=1)
