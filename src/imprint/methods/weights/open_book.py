"""Open-book fine-tuning: the episodes of `closed_book`, learned under the prompts they were played with.

SE-Bench's control (arXiv 2602.04811): the same successes, the same loss, and the skills still in the prompt. What it
gains without skills is no knowledge taken from their text; what it gains with them is better reading.
"""

from __future__ import annotations

from imprint.measurement.conditions import WITH
from imprint.methods.base import MethodSpec
from imprint.methods.weights.closed_book import ClosedBook, Imitation

__all__ = ["SPEC", "OpenBook"]


class OpenBook(ClosedBook):
    """`ClosedBook` that learns under the prompt with the skills."""

    learned_under = WITH


SPEC = MethodSpec(OpenBook, sections={"imitation": Imitation}, paced=None)
