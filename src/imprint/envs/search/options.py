"""Which options of the world of Search-QA go together: one that would change nothing is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from imprint.errors import RecipeError
from imprint.retrieval.open import is_address
from imprint.support.keys import MayBePath

MADE = "made"
Place = Annotated[str, MayBePath(names=(MADE,), hint="give a folder (docs/manual/search-data.md), or `made`")]


def check_options(
    questions: str, retriever: str, *, of_published: Mapping[str, object], of_made: Mapping[str, object], shape: object
) -> None:
    """See that whatever is given (not None) has an effect.

    Args:
        of_published: options of published questions.
        of_made: options of made ones.

    Raises:
        RecipeError: one has none; names it.
    """
    if questions != MADE and retriever == MADE:
        raise RecipeError(
            "published questions are not about the made encyclopedia",
            key="env.retriever",
            hint="give an index's folder (imprint search build) or the address of a server",
        )
    idle, what, hint = (
        (of_published, "made", "set env.questions to the folder of the published sets")
        if questions == MADE
        else (of_made, "published", "set env.questions: made")
    )
    for option, value in idle.items():
        if value is not None:
            raise RecipeError(
                f"has no effect with {what} questions", key=f"env.{option}", hint=f"leave it out, or {hint}"
            )
    if shape is not None and not is_address(retriever):
        raise RecipeError(
            "is that of requests to a server, and there is none",
            key="env.shape",
            hint="leave it out, or set env.retriever to a server's address",
        )
