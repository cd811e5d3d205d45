"""Skills and near misses for tests that compare verdicts: valid pages, pages with one thing wrong, and noise."""

from __future__ import annotations

import gc
import signal
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

SECONDS = 5.0


class TooSlowError(Exception):
    """The reference takes longer than anybody waits."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooSlowError` in the block after so many seconds; in the main thread only."""

    def stop(number: int, frame: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    gc.disable()  # what is raised within a callback of the collector is swallowed, and the block would go on
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def reference_says(folder: Path) -> bool | None:
    """Whether the reference library finds a skill valid; None if it stops with a traceback or does not stop."""
    from skills_ref import validate

    try:
        with time_limit(SECONDS):
            return not validate(folder)
    except Exception:  # whatever it is, it is no verdict
        return None


# What YAML, the rules of names and the reference's way of cutting pages make something of.
TOKENS = [
    *("name: a", "description: d", "metadata:", "license:", "  a: b", "  - x", "a", "b", "k:", "- ", "\n", "\n\n", " "),
    *(
        "  ",
        "\t",
        ": ",
        ":",
        "#",
        " # c",
        "'",
        '"',
        "|",
        "|-",
        ">",
        "> \n",
        "|2\n",
        "|+\n",
        "?",
        "? ",
        "&a",
        "*a",
        "!t",
    ),
    *("!!str ", "[", "]", "{", "}", "<<: ", "<<", "~", "...", "\n...\n", "%", "%YAML 1.2\n", "\\", "\\x41", "\\ud800"),
    *("\x85", "\u2028", "\ufeff", "é", "\n  ", "\n    ", "\n ", "-", "--", "---", "\n---\n", "=", ",", "@", "`", "1"),
    *("true", "\x07", "\0", "\xa0", "\n\t", "k: v\n", "  k: v\n", "  k:\n", "    k: v\n", "l:\n- a\n", "l:\n  - a\n"),
    *("''", '""', "'a'", '"a"', "\n# c\n", "\r", "\r\n"),
]
noise = st.lists(st.sampled_from(TOKENS) | st.text(max_size=2), max_size=12).map("".join)

_letters = st.sampled_from(["a", "b1", "é", "ß", "ж", "名", "ﬁ", "ａ", "²", "①", "ŉ", "e\u0301", "0", "\u0660"])
_wrong = st.sampled_from(["A", "_", " ", ".", "İ", "--", "É", "Σ", "ǅ", "\u200d", "\u00ad", "/", "ℌ", "ﬀB", "½"])
_lengths = st.sampled_from([1, 63, 64, 65]).map(lambda length: "a" * length)
names = st.one_of(
    st.lists(_letters, min_size=1, max_size=4).map("-".join),
    st.lists(_letters | _wrong, min_size=1, max_size=4).map("".join),
    _lengths,
    st.sampled_from(
        ["", " ", "-a", "a-", "a--b", "a-b", "ﬁ" * 32, "ﬁ" * 33, "123", "no", "~", "null", "2020-01-01", "="]
    ),
)
_sentences = st.one_of(
    st.sampled_from(
        ["Does it.", "a: b", "a #b", "# a", "d --- e", "", " ", "'", '"', "=", "<<", "|", "[a]", "{a: b}", "*a"]
    ),
    st.sampled_from([499, 500, 501, 1023, 1024, 1025]).map(lambda length: "d" * length),
    st.sampled_from(
        ["é" * 1024, "\U0001f600" * 1025, "d " * 512, " " + "d" * 1024, "a\nb", "\t", "\xa0", "&a b", "!!str x"]
    ),
    st.text(max_size=20),
)


def _styled(key: str, value: str, style: str) -> str:
    lines = value.split("\n")
    block = "".join(f"\n  {line}" for line in lines)
    return {
        "plain": f"{key}: {value}",
        "single": f"{key}: '{value.replace(chr(39), chr(39) * 2)}'",
        "double": f'{key}: "{value.translate({34: chr(92) + chr(34), 92: chr(92) * 2, 10: chr(92) + "n"})}"',
        "escaped": f'{key}: "{"".join(f"{chr(92)}U{ord(c):08x}" for c in value[:200])}"',
        "next line": f"{key}:{block}",
        "literal": f"{key}: |{block}",
        "stripped": f"{key}: |-{block}",
        "folded": f"{key}: >{block}",
        "kept": f"{key}: >+{block}\n\n",
        "comment": f"{key}: {value} # c",
        "quoted key": f'"{key}": {value}',
        "complex key": f"? {key}\n: {value}",
        "spaced": f"{key} :   {value}  ",
        "list": f"{key}:\n  - {value}",
        "map": f"{key}:\n  a: {value}",
        "tab": f"{key}:\t{value}",
    }[style]


_styles = st.sampled_from(
    ["plain"] * 6 + ["single", "double", "escaped", "next line", "literal", "stripped", "folded", "kept", "comment"]
    + ["quoted key", "complex key", "spaced", "list", "map", "tab"]
)  # fmt: skip
_metadata = st.sampled_from(
    [
        *("metadata:\n  a: b\n  version: 1.0", "metadata:", "metadata: x", "metadata:\n  a:\n    b: c\n  d:\n    e: f"),
        *(
            "metadata:\n  a:\n    b: c\n  d:\n      e: f",
            "metadata:\n  a: 1\n  a: 2",
            "metadata: {a: b}",
            "metadata:\n- a",
        ),
        *("metadata:\n  <<:\n    a: b", "<<:\n  name: x\n  other: y", "<<: x", "metadata:\n  ~: x\n  '~': y"),
        *("metadata: &m\n  a: b", "metadata:\n  ? - a\n  : b", "metadata:\n\n\ta: b", "metadata:\n  - a: b\n    c: d"),
    ]
)
_others = st.builds(
    _styled,
    st.sampled_from(
        ["license", "compatibility", "allowed-tools", "author", "name", "description", "type", "Name", "<<", "="]
    ),
    _sentences,
    _styles,
)


@st.composite
def skills(draw: st.DrawFn) -> tuple[str, bytes]:
    """The name of a folder and the bytes of its SKILL.md."""
    name = draw(names)
    lines = [_styled("name", name, draw(_styles)), _styled("description", draw(_sentences), draw(_styles))]
    lines += draw(st.lists(_others | _metadata | st.just("# comment") | st.just(""), max_size=3))
    lines = draw(st.permutations(lines)) if draw(st.booleans()) else lines
    if draw(st.integers(0, 9)) == 0:
        lines.pop(draw(st.integers(0, len(lines) - 1)))
    if draw(st.integers(0, 3)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(noise))
    opening = draw(
        st.sampled_from(["---\n"] * 12 + ["--- \n", "----\n", "---", " ---\n", "\n---\n", "\ufeff---\n", "--\n", ""])
    )
    closing = draw(
        st.sampled_from(["\n---\n"] * 12 + ["\n---", "\n--- x\n", "\n ---\n", "\n--\n", "", "\n...\n---\n", "\n----\n"])
    )
    body = draw(st.sampled_from(["# Do it\n", "", "a --- b\n---\n", "\0", "\u202e"]) | st.text(max_size=5))
    text = opening + "\n".join(lines) + closing + body
    ends = draw(st.sampled_from(["\n"] * 6 + ["\r\n", "\r"]))
    data = text.replace("\n", ends).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 19)) == 0:
        data = data + b"\xff"
    plain = name.strip()
    folder = draw(
        st.sampled_from(
            [plain] * 6 + [unicodedata.normalize("NFKC", plain)] * 2 + [plain + "x", plain.upper(), "other"]
        )
    )
    folder = "".join(c for c in folder if c not in "/\0" and not 0xD800 <= ord(c) < 0xE000)[:80]
    return (folder if folder not in ("", ".", "..") else "folder"), data
