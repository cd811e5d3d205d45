"""A made encyclopedia: people, works, places and events, each with an article in every volume; drawn from a seed.

An article has one fact. *Which volume holds what* is written nowhere but in the skills. A query of a name
alone finds the volumes of gossip, where the name stands most often; of a name and a volume's word, the article.
Some names are those of two things of different kinds (a novel and an opera), and some things go by another name too.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from imprint.envs.search.names import EMBLEMS, EVENTS, KINDS, PEOPLE, PLACES, RIVERS, WORKS
from imprint.retrieval.base import Passage

# The names of volumes with facts.
ORIGIN, EMBLEM, YEAR, LINK, REST = VOLUMES = ("register", "armorial", "annals", "gazette", "archive")
TELLING = (ORIGIN, EMBLEM, LINK, REST)  # those whose articles end with their fact
GOSSIP = ("digest", "review", "letters")
ALL_VOLUMES = (*VOLUMES, *GOSSIP)

SHARES = {"person": 0.4, "work": 0.25, "place": 0.2, "event": 0.15}
CLASHING = 0.25  # of the things: their name is another thing's too
RENAMED = 0.1  # of the others: they have a second name

_TELLS = {
    ("person", ORIGIN): "As a child {name} lived in {value}.",
    ("work", ORIGIN): "At first {name} opened in {value}.",
    ("place", ORIGIN): "All along {name} borders {value}.",
    ("event", ORIGIN): "At dawn {name} began at {value}.",
    ("person", YEAR): "In {value} {name} was born.",
    ("work", YEAR): "In {value} {name} was printed.",
    ("place", YEAR): "In {value} {name} was founded.",
    ("event", YEAR): "In {value} {name} took place.",
    ("person", LINK): "When young {name} was taught by {value}.",
    ("work", LINK): "By its cover {name} is the work of {value}.",
    ("place", LINK): "By deed {name} was founded by {value}.",
    ("event", LINK): "All the way {name} was led by {value}.",
    ("person", REST): "At last {name} lies buried in {value}.",
    ("work", REST): "To this day {name} is kept in {value}.",
    ("place", REST): "Each year {name} pays its dues to {value}.",
    ("event", REST): "Every spring {name} is remembered in {value}.",
}
_POOLS: dict[str, tuple[str, ...]] = {
    "person": PEOPLE,
    "work": WORKS,
    "place": PLACES,
    "event": EVENTS,
}
_EMBLEM = "By old and well kept custom {name} bears a {value}."
_GOSSIP = (
    "Always {name}, again {name}, and never a word of {other}.",
    "They say {name}, once more {name}, as if in {place}.",
    "Here {name}, there {name}, and nothing from {place}.",
)


def _parts(sentence: str) -> list[str]:
    """What stands between the names of a sentence, which begins a line."""
    parts = [part.rstrip() for part in re.split(r"{\w+}", f"\n{sentence}")]
    return [part for part in parts if part not in ("", ".")]


# What the articles' sentences are made of, each part once.
SENTENCE_PARTS = tuple(dict.fromkeys(part for text in (*_TELLS.values(), _EMBLEM, *_GOSSIP) for part in _parts(text)))


@dataclass(frozen=True, slots=True)
class Thing:
    """What the encyclopedia has articles on.

    Attributes:
        number: its place in the encyclopedia.
        sort: person, work, place or event.
        kind: what it is: `novel`. It distinguishes things of one name.
        name: as articles have it.
        alias: another name that stands in the title of its articles; "" if it has none.
        facts: by volume, that of its article.
        link: the number of the thing that its article in `LINK` names.
    """

    number: int
    sort: str
    kind: str
    name: str
    alias: str
    facts: dict[str, str] = field(hash=False)
    link: int = -1

    def title(self, volume: str) -> str:
        """The title of an article: `Mira Kolb (painter), register`."""
        also = f", also {self.alias}" if self.alias else ""
        return f"{self.name} ({self.kind}){also}, {volume}"


class Encyclopedia:
    """Things and the articles on them.

    Args:
        seed: the same seed always gives the same encyclopedia.
        things: how many; there are eight articles on each.
    """

    def __init__(self, seed: int | str = 0, things: int = 2500) -> None:
        rng = random.Random(f"encyclopedia/{seed}")
        self.things = _with_facts([thing for sort in SHARES for thing in _named(sort, things, rng)], rng)
        counts = Counter(thing.name for thing in self.things)
        self.clashing = frozenset(name for name, count in counts.items() if count > 1)
        self._places = tuple(thing.name for thing in self.things if thing.sort == "place")

    def article(self, thing: Thing, volume: str, word: str | None = None) -> Passage:
        """What `volume` has on `thing`; `word` stands in for the volume's own."""
        return Passage(f"{thing.number}/{volume}", f"{thing.title(word or volume)}\n{self._text(thing, volume)}")

    def passages(self) -> list[Passage]:
        """All articles."""
        return [self.article(thing, volume) for thing in self.things for volume in ALL_VOLUMES]

    def found(self, passage: Passage) -> tuple[Thing, str]:
        """What a passage is an article on, and of which volume."""
        number, volume = passage.id.split("/")
        return self.things[int(number)], volume

    def _text(self, thing: Thing, volume: str) -> str:
        if volume in GOSSIP:
            other = self.things[(thing.number * 7 + 13) % len(self.things)]
            place = self._places[thing.number % len(self._places)]
            text = _GOSSIP[GOSSIP.index(volume)]
            return text.format(name=thing.name, other=other.name, place=place)
        text = _EMBLEM if volume == EMBLEM else _TELLS[thing.sort, volume]
        return text.format(name=thing.name, value=thing.facts[volume])


def _named(sort: str, things: int, rng: random.Random) -> Iterator[Thing]:
    """The things of a sort, without facts: every name once, but for those that two of them share."""
    count = max(4, round(things * SHARES[sort]))
    pool = rng.sample(_POOLS[sort], len(_POOLS[sort]))
    names = iter(pool)
    made = 0
    while made < count:
        name = next(names)
        shared = made + 2 <= count and rng.random() < CLASHING / 2
        alias = "" if shared or rng.random() >= RENAMED else next(names)
        for kind in rng.sample(KINDS[sort], 2 if shared else 1):
            yield Thing(0, sort, kind, name, alias, {})
            made += 1


def _with_facts(named: list[Thing], rng: random.Random) -> tuple[Thing, ...]:
    """The things in an order drawn at random, each with its facts."""
    rng.shuffle(named)
    counts = Counter(thing.name for thing in named)
    people = [n for n, thing in enumerate(named) if thing.sort == "person" and counts[thing.name] == 1]
    places = [thing.name for thing in named if thing.sort == "place" and counts[thing.name] == 1]
    things = []
    for number, thing in enumerate(named):
        link = rng.choice([n for n in rng.sample(people, 2) if n != number])
        facts = {
            ORIGIN: rng.choice(RIVERS if thing.sort == "place" else places),
            EMBLEM: rng.choice(EMBLEMS),
            YEAR: str(rng.randint(100, 999)),
            LINK: named[link].name,
            REST: rng.choice(places),
        }
        things.append(replace(thing, number=number, facts=facts, link=link))
    return tuple(things)
