"""How well a policy reads what is drawn: words of pages that no lesson ever showed, said from the picture.

    python benchmarks/reading.py results/household-vision/base

Two words of a picture's text are given, and the twelve after them are to be said (`methods/reading.py`). The texts are
those of the household's language that pre-training holds out, and the installed library's real pages. "Seen" is with
the picture, "another" with the picture of another text, "unigram" how likely the words are in the language at all. The
last rows are what a page costs: tokens as text and as a picture.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from support.common import parser, report, table

from imprint.context.config import ContextConfig, ImageConfig
from imprint.context.pages import load_templates, render_pages
from imprint.context.visual import VisualContext
from imprint.envs.base import make_world
from imprint.errors import PolicyError
from imprint.learning.batch import Sample, micro_batches, score
from imprint.methods.eyes import language_of, some_text
from imprint.methods.pretrain import HELD_OUT
from imprint.methods.reading import passages
from imprint.policy.model import Policy
from imprint.skills.library import load_library

IMAGE = ImageConfig(width=112, font_size=6, line_spacing=2.33, padding=0, height_step=28)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print one table."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("model", nargs="?", default="results/household-vision/base")
    made.add_argument("--pictures", type=int, default=100, help="of each kind of text")
    options = made.parse_args(arguments)
    if options.quick:
        options.pictures = 2
    torch.set_num_threads(1)
    try:
        policy = Policy.load(options.model, pictures=True)
    except PolicyError as error:
        print(f"skipped: {error}")
        return 0
    context = VisualContext(policy, ContextConfig(style="plain", skills="image", image=IMAGE))
    texts = language_of(make_world("household", size="small"))
    pages = real_pages()
    counts = Counter(word for text in texts[HELD_OUT:] for word in policy.encode(text + "\n"))
    dice = random.Random(0)
    kinds = {
        "language": [some_text(texts[:HELD_OUT], dice) for _ in range(options.pictures)],
        "real pages": [dice.choice(pages) for _ in range(options.pictures)],
    }
    figures: dict[str, dict[str, float]] = {}
    rows: list[tuple[str, ...]] = [("texts", "seen nll", "seen read", "another nll", "another read", "unigram nll")]
    for name, drawn in kinds.items():
        found = measure(context, drawn, counts)
        figures[name] = found
        rows.append((name, *(f"{value:.2f}" for value in found.values())))
    table(rows)
    figures["a page"] = cost(context, pages)
    print("tokens of a task's pages: " + ", ".join(f"{value:.0f} {name}" for name, value in figures["a page"].items()))
    report("reading", figures, options)
    return 0


def real_pages() -> list[str]:
    """What a task of each family shows of the installed library."""
    library, templates = load_library("household"), load_templates("plain")
    families = make_world("household", size="small").categories
    return [render_pages(templates, library.serving(family)).strip("\n") for family in families]


def measure(context: VisualContext, texts: Sequence[str], counts: Counter[int]) -> dict[str, float]:
    dice = random.Random(1)
    seen = [sample for text in texts for sample in passages(context, text, dice)]
    others = [sample.pictures for sample in (*seen[len(seen) // 2 :], *seen[: len(seen) // 2])]
    swapped = [_with(context, sample, pictures) for sample, pictures in zip(seen, others, strict=True)]
    words = [word for sample in seen for word in sample.token_ids[2:]]
    everything = sum(counts.values()) + len(counts) + 1
    unigram = -sum(math.log((counts[word] + 1) / everything) for word in words) / len(words)
    return {**_read(context, seen, ""), **_read(context, swapped, " of another"), "unigram": unigram}


def _with(context: VisualContext, sample: Sample, pictures: tuple) -> Sample:  # type: ignore[type-arg]
    assert context.policy.eyes is not None
    bos = sample.prompt_ids[:1]
    return replace(sample, prompt_ids=(*bos, *context.policy.eyes.spelled(pictures[0])), pictures=pictures)


@torch.no_grad()
def _read(context: VisualContext, samples: Sequence[Sample], of: str) -> dict[str, float]:
    logprobs = torch.cat([score(context.policy, micro).logprobs_M for micro in micro_batches(samples, 4000)])
    return {f"nll{of}": -float(logprobs.mean()), f"read{of}": float((logprobs.exp() > 0.5).float().mean())}


def cost(context: VisualContext, pages: Sequence[str]) -> dict[str, float]:
    """Mean tokens of the pages, as text and as a picture."""
    policy = context.policy
    assert policy.eyes is not None
    drawn = [policy.eyes.count(*context.renderer.pixels(page).shape[:2]) + 2 for page in pages]
    return {
        "as text": sum(len(policy.encode(page + "\n\n")) for page in pages) / len(pages),
        "drawn": sum(drawn) / len(drawn),
    }


if __name__ == "__main__":
    raise SystemExit(main())
