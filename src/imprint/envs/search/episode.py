"""One episode of Search-QA: at most so many turns of searching, then an answer that counts or does not."""

from __future__ import annotations

from imprint.envs.search.question import Question, exact_match
from imprint.envs.search.tags import Format, information, read_action, shown
from imprint.retrieval.base import Hit, Retriever
from imprint.types import StepResult

UNREAD = "This is no action: search once, or answer once."


class SearchEpisode:
    """The protocol of Search-R1 and SKILL0 (arXiv 2604.02268, section 4.1).

    An answer ends the episode; its exact match is the reward, 0 or 1. A search costs a turn, and so does what is
    neither.

    Args:
        topk: how many passages a search gives.
        form: how they are written, see `tags.information`.
    """

    def __init__(self, question: Question, retriever: Retriever, *, topk: int, max_turns: int, form: Format) -> None:
        self.question = question
        self.retriever = retriever
        self.topk = topk
        self.max_turns = max_turns
        self.form = form
        self.turns = 0
        self.found: list[Hit] = []

    def reset(self) -> StepResult:
        """The question."""
        self.turns = 0
        return StepResult(f"Question: {shown(' '.join(self.question.text.split()))}")

    def step(self, action: str) -> StepResult:
        """Search or answer.

        Raises:
            RetrievalError: the search engine gives no answer. It never becomes something the agent reads.
        """
        kind, text = read_action(action)
        self.turns += 1
        last = self.turns >= self.max_turns
        if kind == "answer":
            right = exact_match(text, self.question)
            return StepResult("", float(right), terminated=True, success=right)
        if kind == "search":
            (self.found,) = self.retriever.search([text], self.topk)
            return StepResult(information(self.found, self.form), truncated=last)
        return StepResult(UNREAD, truncated=last, valid=False)
