"""How well a policy transcribes pictures of skill text and of other texts that no lesson used.

    python benchmarks/reading.py results/household-vision/base

Two words of a picture's text are given, and the next twelve are to be predicted (`pretrain/transcription.py`). The
texts are those of the household's language that pre-training holds out, and the installed library's real skill text.
"Seen" is with the picture, "another" with that of another of the held-out texts, "unigram" how likely the words are in
the language at all. Much of a text can be guessed from the words before; "told" counts only the words that occur
neither before them in the passage nor in the other text. Then validation games are played, with the skill text of their
own family, with that of another, and with oracle embeddings in place of the vision encoder's; the same with a drawn
history. The last row is what the skill text of a task costs: tokens as text and as a picture.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from support.common import parser, report, table

from imprint.context.config import ContextConfig, ImageConfig
from imprint.context.pages import load_templates, render_pages
from imprint.context.visual import VisualContext
from imprint.engine.local import rollout_for
from imprint.envs.base import make_world
from imprint.errors import PolicyError
from imprint.learning.sample import Sample
from imprint.learning.scoring import score
from imprint.models.local.policy import Policy
from imprint.models.sampling import Sampling
from imprint.pretrain.texts import HELD_OUT, language_of, some_text
from imprint.pretrain.transcription import passages
from imprint.pretrain.vision_lesson import oracle_vision
from imprint.rollout.base import Request, derive_seed
from imprint.skills.library import load_library

IMAGE = ImageConfig(width=112, font_size=6, line_spacing=2.33, padding=0, height_step=28)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print one table."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("model", nargs="?", default="results/household-vision/base")
    made.add_argument("--pictures", type=int, default=100, help="of each kind of text")
    made.add_argument("--games", type=int, default=120, help="validation games with each picture")
    options = made.parse_args(arguments)
    if options.quick:
        options.pictures = options.games = 2
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
    rng = random.Random(0)
    kinds = {
        "language": [some_text(texts[:HELD_OUT], rng) for _ in range(options.pictures)],
        "real pages": [rng.choice(pages) for _ in range(options.pictures)],
    }
    others = [some_text(texts[:HELD_OUT], rng) for _ in range(options.pictures)]
    figures: dict[str, dict[str, float]] = {}
    rows: list[tuple[str, ...]] = [("texts", "words", "seen nll", "read", "another nll", "read", "unigram nll")]
    for name, drawn in kinds.items():
        found = measure(context, drawn, others, counts)
        figures[name] = found
        for which in ("all", "told"):
            keys = ("seen nll", "seen read", "another nll", "another read", "unigram nll")
            count = f"{found[f'{which} words']:.0f}"
            rows.append((f"{name}, {which}", count, *(f"{found[f'{which} {key}']:.2f}" for key in keys)))
    table(rows)
    for shown, config in (
        ("solved", context.config),
        ("solved with a drawn history", context.config.model_copy(update={"history": "image"})),
    ):
        figures[shown] = solved(policy, config, options.games)
        counted = (f"{value:.0f} of {options.games} with {name}" for name, value in figures[shown].items())
        print(f"{shown}: {', '.join(counted)}")
    figures["a page"] = cost(context, pages)
    print("tokens of a task's pages: " + ", ".join(f"{value:.0f} {name}" for name, value in figures["a page"].items()))
    report("reading", figures, options)
    return 0


def real_pages() -> list[str]:
    """What a task of each family shows of the installed library."""
    library, templates = load_library("household"), load_templates("plain")
    families = make_world("household", size="small").categories
    return [render_pages(templates, library.serving(family)).strip("\n") for family in families]


def measure(
    context: VisualContext, texts: Sequence[str], others: Sequence[str], counts: Counter[int]
) -> dict[str, float]:
    """Of passages of `texts`: how well they are read from their picture, and with the picture of one of `others`."""
    rng, policy = random.Random(1), context.policy
    everything = sum(counts.values()) + len(counts) + 1
    columns: dict[str, list[float]] = {name: [] for name in ("seen", "another", "unigram", "told")}
    for text, other in zip(texts, others, strict=True):
        foreign = passages(context, other, rng)[0]
        known = set(policy.encode(other))
        for sample in passages(context, text, rng):
            swapped = replace(sample, prompt_ids=foreign.prompt_ids, pictures=foreign.pictures)
            columns["seen"] += _logprobs(context, sample)
            columns["another"] += _logprobs(context, swapped)
            for place, word in enumerate(sample.token_ids[2:], start=2):
                columns["unigram"].append(math.log((counts[word] + 1) / everything))
                columns["told"].append(float(word not in known and word not in sample.token_ids[:place]))
    values = {name: np.array(column) for name, column in columns.items()}
    found: dict[str, float] = {}
    for which, kept in (("all", values["told"] >= 0), ("told", values["told"] > 0)):
        found[f"{which} words"] = float(kept.sum())
        for name in ("seen", "another", "unigram"):
            found[f"{which} {name} nll"] = -float(values[name][kept].mean())
            found[f"{which} {name} read"] = float((values[name][kept] > math.log(0.5)).mean())
    return found


@torch.no_grad()
def _logprobs(context: VisualContext, sample: Sample) -> list[float]:
    found: list[float] = score(context.policy, [sample]).logprobs_M.tolist()
    return found


def solved(policy: Policy, config: ContextConfig, games: int) -> dict[str, float]:
    """How many validation games are solved with the pages of their own family, with those of the next, and with the
    sums of their own pages' words in the place of the vision encoder's output."""
    world, library = make_world("household", size="small"), load_library("household")
    rollout, families = rollout_for(policy, world, config), list(world.categories)
    tasks = list(world.tasks("validation"))[:games]
    assert isinstance(rollout.context, VisualContext)
    sums = oracle_vision(policy, rollout.context.renderer)
    found = {}
    for name, step, sight in (
        ("its own pages", 0, nullcontext()),
        ("another family's", 1, nullcontext()),
        ("the sums of its own pages' words", 0, sums),
    ):
        shown = [library.serving(families[(families.index(task.category) + step) % len(families)]) for task in tasks]
        requests = [
            Request(task, derive_seed(0, "evaluate", task.id), page) for task, page in zip(tasks, shown, strict=True)
        ]
        with sight:
            found[name] = float(sum(episode.success for episode in rollout.play(requests, Sampling(0.4, 24))))
    return found


def cost(context: VisualContext, pages: Sequence[str]) -> dict[str, float]:
    """Mean tokens of the pages, as text and as a picture."""
    policy = context.policy
    assert policy.vision is not None
    drawn = [policy.vision.count(*context.renderer.pixels(page).shape[:2]) + 2 for page in pages]
    return {
        "as text": sum(len(policy.encode(page + "\n\n")) for page in pages) / len(pages),
        "drawn": sum(drawn) / len(drawn),
    }


if __name__ == "__main__":
    raise SystemExit(main())
