"""Rules over sentences, and whether a sentence orders, forbids or describes what it names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imprint.skills.scan.documents import Document
from imprint.skills.scan.report import Finding, evidence
from imprint.skills.scan.rules import load_rules

MAX_CHARACTERS = 1_000_000
_BREAK = re.compile(r"(?<=[.!?:;])[)\"'*_]*\s+(?=[A-Z*_`\"'(\d-])|\n(?=\s*(?:[-*+>#|]|\d+[.)]\s|\n|$))")
_NEGATION = re.compile(
    r"(?i)\b(?:never|not|n't|don't|cannot|can't|avoid|without|refuse to|must not|should not|shouldn't|no|prevent\w*|prohibit\w*|forbid\w*|"
    r"instead of|rather than|refrain\w*|stop|neither|nor|unauthori[sz]ed|block\w*|protects? against)\b(?:\W+\w+){0,6}\W*$"
)
_DESCRIBES = re.compile(
    r"(?i)\b(?:attack(?:er|ers|s)?|adversar\w+|malicious\w*|detect\w*|flag(?:s|ged)?|injection\w*|jailbreak\w*|attempts?|attempting|vulnerab\w+|exploit\w*|"
    r"threats?|scan(?:s|ner|ning)? for|look(?:s|ing)? for|red flags?|suspicious|example of|for example|e\.g\.|such as|risk(?:s|y)?|phish\w*|"
    r"might|could (?:be|try|attempt)|patterns? like|reject(?:s|ed)?|refuse|protect\w*|guard against|mitigat\w*|test cases?|compromised?|untrusted|"
    r"sanitiz\w*|anti-?patterns?|red team\w*|would|evil|evaluat\w+|assess\w*|bad:|wrong:|if (?:a|the|any|some) \w+ (?:tries|asks|attempts|contains))\b|❌|✗|🚫"
)
_BAD_HEADING = re.compile(
    r"(?i)\b(?:red flags?|anti-?patterns?|threats?|attacks?|what not|don'?ts?|avoid|bad|mistakes?|security|safety|injection|vulnerab\w*|risks?|never|"
    r"detect\w*|examples? of|prohibited|forbidden|limitations?|pitfalls?|abuse|rationali[sz]ations?)\b"
)


def scan_prose(document: Document) -> Iterator[Finding]:
    """What the sentences of a document say, as far as a rule asks."""
    text = sentences(document.text[:MAX_CHARACTERS])
    lower = text.lower()
    for rule in load_rules()["prose"]:
        if rule.pattern is None or (rule.roles and document.role not in rule.roles) or not rule.may_match(lower):
            continue
        for found in rule.pattern.finditer(text):
            begin, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
            sentence = text[begin : end if end >= 0 else len(text)]
            if rule.unless is not None and rule.unless.search(sentence):
                continue
            before = text[begin : found.start()]
            if rule.negatable and _NEGATION.search(before):
                continue
            severity = rule.severity_in(document.role).lowered(_distance(document, text, before, sentence, found))
            line = document.line + document.text.count("\n", 0, found.start())
            yield Finding(rule.id, severity, document.file, line, evidence(sentence), rule.why)


def sentences(text: str) -> str:
    """The same text, character for character, with a line end after each sentence and only there."""
    flat, parts, last = text.replace("\n", " "), [], 0
    for found in _BREAK.finditer(text):
        if found.group():
            parts.append(flat[last : found.end() - 1])
            last = found.end()
    return "\n".join([*parts, flat[last:]])


def _distance(document: Document, text: str, before: str, sentence: str, found: re.Match[str]) -> int:
    """How many steps a finding loses because the sentence talks about such an order instead of giving it."""
    if document.role == "comment":
        return 0  # nobody explains an attack to readers in what they do not see
    rest = sentence.replace(found.group(), " ")
    if _quoted(before, sentence) or _DESCRIBES.search(rest) or sentence.lstrip().startswith("|"):
        return 2
    heading = max(text.rfind("\n#", 0, found.start()), 0)
    title = text[heading : text.find("\n", heading + 1)]
    return 2 if _BAD_HEADING.search(title) and title.lstrip().startswith("#") else 0


def _quoted(before: str, sentence: str) -> bool:
    """Whether the match begins inside quotation marks or code."""
    if before.count("`") % 2 or before.count('"') % 2:
        return True
    return before.count("\u201c") > before.count("\u201d")

