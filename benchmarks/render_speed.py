"""How fast pictures of histories are drawn: with lines that are kept, against drawing everything anew.

    python benchmarks/render_speed.py

The histories are of household episodes: one picture a turn, of all that was said and seen so far. "Anew" is the same
renderer that keeps no lines, only the shapes of characters; "Pillow" is its `ImageDraw.text`, a call for each wrapped
row, for comparison. The pictures are not compressed. Everything runs in one thread, and the clock is its own
processor time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw
from support.common import parser, repeat, report, spread, table

from imprint.context.image import Renderer
from imprint.envs.household.world import HouseholdWorld

CLOCK = time.process_time


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print one table."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--episodes", type=int, default=12, help="episodes of different tasks")
    made.add_argument("--group", type=int, default=4, help="how often each is drawn, as in a group of rollouts")
    made.add_argument("--repeats", type=int, default=5, help="timings of each kind")
    options = made.parse_args(arguments)
    if options.quick:
        options.episodes, options.group, options.repeats = 3, 2, 1
    histories = [text for texts in played(options.episodes) for text in texts]
    warm, none = Renderer(), Renderer(cache_bytes=0)
    ways: dict[str, Callable[[], int]] = {
        "every line kept": lambda: draw_all(warm.pixels, histories),
        "a group, nothing kept at first": lambda: draw_all(Renderer().pixels, histories * options.group),
        "anew": lambda: draw_all(none.pixels, histories),
        "Pillow": lambda: draw_all(plain(warm), histories),
    }
    rates = {name: _rates(way, options.repeats) for name, way in ways.items()}
    rows = [("pictures", "a second"), *((name, spread(found, 0)) for name, found in rates.items())]
    table(rows)
    best = statistics.median(rates["every line kept"])
    for other in ("anew", "Pillow"):
        ratio = best / statistics.median(rates[other])
        print(f"ratio {ratio:.1f}  pictures a second with every line kept against {other}")
    report("render_speed", {"pictures": len(histories), "per_second": rates}, options)
    return 0


def played(count: int) -> list[list[str]]:
    """The histories of `count` episodes, one a turn."""
    world = HouseholdWorld(size="alfred", max_turns=50)
    found = []
    for task in world.tasks("test"):
        exemplar = world.exemplar(task)
        if exemplar is None:
            continue
        lines = [f"[Observation]: {' '.join(exemplar.first_observation.split())}"]
        texts = []
        for step in exemplar.steps:
            lines += [f"[Action]: {step.command}", f"[Observation]: {' '.join(step.observation.split())}"]
            texts.append("\n".join(lines))
        found.append(texts)
        if len(found) == count:
            return found
    return found


def plain(renderer: Renderer) -> Callable[[str], object]:
    """The same rows, each drawn by Pillow as a text."""

    def draw(text: str) -> Image.Image:
        found = [row for line in text.split("\n") for row in renderer.layout(line)]
        image = Image.new("RGB", (renderer.config.width, renderer.row_height * len(found)), (255, 255, 255))
        pen = ImageDraw.Draw(image)
        for place, row in enumerate(found):
            pen.text((0, place * renderer.row_height), row.text, fill=(0, 0, 0), font=renderer.font)
        return image

    return draw


def draw_all(draw: Callable[[str], object], texts: Sequence[str]) -> int:
    """Draw each text; how many there were."""
    for text in texts:
        draw(text)
    return len(texts)


def _rates(way: Callable[[], int], repeats: int) -> list[float]:
    count = way()
    return [count / took for took in repeat(way, repeats, warm_up=0, clock=CLOCK)]


if __name__ == "__main__":
    raise SystemExit(main())
