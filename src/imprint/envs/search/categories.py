"""Which of SKILL0's four sub-tasks a question of a published set belongs to. Every question has one.

1. The set's own label, where the row has one: HotpotQA's and 2WikiMultihopQA's `type`.
2. Else by set; of the multi-hop sets, a question that asks to compare by its wording is a comparison.

The reference takes a question for a comparison if "which" and "or" stand in it and "for" does not, as substrings:
"Which actor ..." is one (act-or), "Are both ...?" is not. The wording rule here looks at words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from imprint.envs.search.question import ATTRIBUTE, COMPARISON, DIRECT, MULTI_HOP

LABELS = {
    "comparison": COMPARISON,
    "bridge_comparison": COMPARISON,
    "bridge": MULTI_HOP,
    "compositional": MULTI_HOP,
    "inference": MULTI_HOP,
}
BY_SET = {"nq": DIRECT, "triviaqa": DIRECT, "popqa": ATTRIBUTE}  # the others are multi-hop


def category(source: str, text: str, label: str | None = None) -> str:
    """The category of a question of the set `source`; a label that is not one of `LABELS` is not used."""
    if label in LABELS:
        return LABELS[label]
    if source in BY_SET:
        return BY_SET[source]
    return COMPARISON if asks_to_compare(text) else MULTI_HOP


LONGEST = 1000  # characters that the wording rule looks at
_YES_NO = re.compile(r"^(is|are|was|were|do|does|did|has|have|had)\b.*\b(and|or|both|same|than)\b")
_BOTH = re.compile(r"^both\b.*\band\b|\b(are|were|do|did)\b(.*\band\b.*)? both\b")
_SHARED = re.compile(
    r"\bin common\b|\b(do|did)\b.*\band\b.*\bshare\b|\bshared (by|between)\b.*\band\b|"
    r"\band\b.*\bshare (the same|what|which)\b"
)
_BETWEEN = re.compile(r"^(between (?!\d)|of\b|out of\b).*\band\b.*\b(which|who|whose|what)\b")
_ASKS = re.compile(r"\b(which|who|whose|what|where|when)\b")
_OR = re.compile(r"\bor (?!(more|less|fewer|not|so|later|earlier|older|younger)\b)")
_DEGREE = re.compile(
    r"\b(first|last|earlier|earliest|later|latest|sooner|before|older|oldest|elder|eldest|younger|youngest|newer|newest|"
    r"more|most|less|least|fewer|fewest|larger|largest|bigger|biggest|smaller|smallest|greater|greatest|higher|highest|"
    r"lower|lowest|longer|longest|shorter|shortest|taller|tallest|farther|farthest|further|closer|closest|nearer|wider|"
    r"deeper|heavier|lighter|faster|slower|better)\b"
)
_QUOTED = re.compile(r"[\"\u201c\u201d][^\"\u201c\u201d]*[\"\u201c\u201d]")
_SMALL = re.compile(r"a|an|and|at|by|de|del|di|for|from|in|la|of|on|or|the|to|von|with")  # within names


def asks_to_compare(text: str) -> bool:
    """Whether the wording asks to compare two or more named things. What stands in double quotes is one name.

    - a yes-no question about two things (`Are A and B ...`, `Did A ... the same ... as B`, `Is A larger than B`);
    - `both`, or something that two things share (`What are A and B both`, `What do A and B have in common`);
    - a choice: `Between A and B, which ...`, or alternatives joined by `or`, which stand beside a word of degree
      (`Who was born first, A or B`), after a comma (`Which one is a band, A or B`), or as names at the end
      (`Which town is in Italy Pisa or Nice`).
    """
    text = _QUOTED.sub("Quoted", text[:LONGEST].strip()).rstrip("?!. ")
    small = text.lower()
    if any(pattern.search(small) for pattern in (_YES_NO, _BOTH, _SHARED, _BETWEEN)):
        return True
    alternative = _OR.search(small)
    if alternative is None or not _ASKS.search(small):
        return False
    return bool(_DEGREE.search(small)) or _offers(text)


def _offers(text: str) -> bool:
    """Whether `text` ends in `, A or B`, or in `A or B` where both are names."""
    before, _, after = text.rpartition(" or ")
    if not _is_name(after):
        return False
    clause = re.split(r"[,:;\u2013\u2014]\s+|\s-\s", before)
    return _starts_name(before.split()[-1:]) or (len(clause) > 1 and _starts_name(clause[-1].split()[:1]))


def _is_name(words: str) -> bool:
    parts = words.split()
    return bool(parts) and all(_starts_name([part]) or _SMALL.fullmatch(part.lower()) for part in parts)


def _starts_name(words: list[str]) -> bool:
    return any(word.lstrip("'\u2018(")[:1].isupper() or word[:1].isdigit() for word in words)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the wording rule gives the category that a set's own labels give.

    Attributes:
        rows: labelled questions.
        agree: of them, those with the same category.
        missed: comparisons that the wording does not show.
        mistaken: others that the wording takes for comparisons.
    """

    rows: int
    agree: int
    missed: int
    mistaken: int


def agreement(labelled: Iterable[tuple[str, str]]) -> Agreement:
    """Hold the wording rule against (question, label) pairs of a multi-hop set; unknown labels are passed over."""
    rows = missed = mistaken = 0
    for text, label in labelled:
        if label in LABELS:
            found, true = asks_to_compare(text), LABELS[label] == COMPARISON
            rows, missed, mistaken = rows + 1, missed + (true and not found), mistaken + (found and not true)
    return Agreement(rows, rows - missed - mistaken, missed, mistaken)
