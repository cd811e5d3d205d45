"""How a chat answer is read: the action between <action> tags, as it was said or folded as ALFWorld's commands are."""

from __future__ import annotations

import re

__all__ = ["parse_folded", "parse_tags"]

_TAGS = re.IGNORECASE | re.ASCII  # <Action> counts too
_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL | _TAGS)
_ONCE = tuple(re.compile(tag, _TAGS) for tag in ("<action>", "</action>"))
_AT_MOST_ONCE = tuple(re.compile(tag, _TAGS) for tag in ("<compression>", "</compression>"))
_CJK = re.compile(r"[\u4e00-\u9fff]")


def parse_tags(response: str) -> tuple[str, bool]:
    """What the first <action> pair holds ("" if there is none), and whether the answer is well formed.

    The action is given as it was said, without the white space around it: letters, inner spaces, lines and punctuation
    are the environment's business. The answer is well formed if there is exactly one <action> pair and one <think> pair
    (this one in small letters), and at most one <compression> pair. Where the tags stand does not matter, nor whether
    the action is possible: it is carried out in either case, and so is one out of a broken answer.
    """
    match = _ACTION.search(response)
    well_formed = (
        match is not None
        and all(len(tag.findall(response)) == 1 for tag in _ONCE)
        and all(response.count(tag) == 1 for tag in ("<think>", "</think>"))
        and all(len(tag.findall(response)) <= 1 for tag in _AT_MOST_ONCE)
    )
    return match.group(1).strip() if match else "", well_formed


def parse_folded(response: str) -> tuple[str, bool]:
    """`parse_tags` by the rules of SKILL0's reference code for ALFWorld, whose commands are in small English letters:
    the action is lower-cased, and an answer with a Chinese character is not well formed."""
    action, well_formed = parse_tags(response)
    return action.lower(), well_formed and _CJK.search(response) is None
