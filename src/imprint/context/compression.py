"""The factor by which an agent asks for its next picture to be compressed (SKILL0, arXiv 2604.02268, section 3).

A picture compressed by c has each side scaled by 1/sqrt(c), and costs a c-th of the tokens. The paper writes the factor
as its inverse, in (0, 1], whose logarithm would punish compressing; its code and prompts have c >= 1, as here.
"""

from __future__ import annotations

import math
import re

LEAST, MOST = 1.0, 5.0
_TAG = re.compile(r"\s*<compression>(.*?)</compression>", re.DOTALL | re.IGNORECASE)


def asked_factor(response: str) -> float:
    """The factor in a response, within `LEAST` and `MOST`; 1 (as it is) where there is none or it is no number."""
    match = _TAG.search(response)
    try:
        factor = float(match.group(1)) if match else LEAST
    except ValueError:
        return LEAST
    return LEAST if math.isnan(factor) else min(max(factor, LEAST), MOST)


def without_factor(response: str) -> str:
    """The response without its compression tag."""
    return _TAG.sub("", response)
