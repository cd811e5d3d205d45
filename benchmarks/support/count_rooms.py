"""Counts what the rooms of real games hold, for the made games of size `alfred`.

    python benchmarks/support/count_rooms.py path/to/train.jsonl.gz

writes src/imprint/envs/household/room_statistics.json. It reads the train split alone, so that `valid_seen` stays a
test of what is made. Only sums over many games are kept, never a game or a room;
`room_statistics.py` documents each sum.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from imprint.envs.household.game import Game, Object
from imprint.envs.household.pddl import load_rows
from imprint.envs.household.room_statistics import FILE, KINDS, RoomFacts, fours, kind_of, room_facts
from imprint.envs.household.splits import LIGHT, TREATED, goal_of

RARE = 0.05  # what is rarer is left out where two pieces of furniture share a spot or overlap
LEAST = 20  # things that a chance is counted on
DRAWS = 20_000
# Furniture that every room of a kind has: a room that is drawn for no task begins with it.
COMMON = {"kitchen": "CounterTop", "living room": "GarbageCan", "bedroom": "GarbageCan", "bathroom": "HandTowelHolder"}
MOST_COPIES = 4
MOST_TOGETHER = 6
LEVELS = 3
Table = list[list[int]]


def main() -> None:
    """Count the rows that the command line names."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", type=Path, help="the train split: a .jsonl.gz of rows")
    options.add_argument("--out", type=Path, default=Path("src/imprint/envs/household") / FILE)
    chosen = options.parse_args()
    chosen.out.write_text(layout(room_statistics(list(load_rows(chosen.rows)))), encoding="utf-8")
    print(f"written to {chosen.out}")


def layout(document: Mapping[str, Any]) -> str:
    """JSON with one line per entry of a table, so that a difference can be read."""

    def lines(value: Any, depth: int) -> str:
        if depth == 0 or not isinstance(value, dict):
            return json.dumps(value)
        pad = " " * (4 - depth)
        inner = ",\n".join(f"{pad}{json.dumps(key)}: {lines(item, depth - 1)}" for key, item in value.items())
        return "{\n" + inner + "\n" + pad[1:] + "}"

    return lines(document, 3) + "\n"


def room_statistics(games: Sequence[Game]) -> dict[str, Any]:
    """Everything that `room_statistics.py` reads."""
    by_kind: defaultdict[str, list[Game]] = defaultdict(list)
    for game in games:
        by_kind[kind_of(r.type for r in game.receptacles)].append(game)
    overlaps = _overlaps(games)
    rooms = {kind: _room(by_kind[kind], overlaps) for kind in KINDS}
    return {
        "games": len(games),
        "goals": _goals(games),
        "copies": _goal_copies(games),
        "asked": _asked(games, rooms, overlaps),
        "at_lamp": _at_lamp(games, rooms),
        "shut": _shut(games, rooms),
        "overlaps": overlaps,
        "single": _single(games),
        "rooms": rooms,
    }


def _goals(games: Sequence[Game]) -> dict[str, dict[str, list[int]]]:
    """family -> "object target" -> games in each kind of room."""
    found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for game in games:
        family, thing, target = goal_of(game)
        rooms = found[family].setdefault(f"{thing} {target}", [0] * len(KINDS))
        rooms[KINDS.index(kind_of(r.type for r in game.receptacles))] += 1
    return {family: dict(sorted(goals.items())) for family, goals in sorted(found.items())}


def _goal_copies(games: Sequence[Game]) -> dict[str, list[int]]:
    """family -> games with 1, 2, ... things of the goal's type."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0] * MOST_COPIES)
    for game in games:
        found[game.family][_capped(sum(thing.type == game.goal.object_type for thing in in_reach(game))) - 1] += 1
    return dict(sorted(found.items()))


def _asked(
    games: Sequence[Game], rooms: Mapping[str, Any], overlaps: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, list[int]]]:
    """family -> receptacle type -> [things of the goal found there, those expected if they lay as others do]."""
    found: Counter[tuple[str, str]] = Counter()
    expected: Counter[tuple[str, str]] = Counter()
    facts = {kind: room_facts(room) for kind, room in rooms.items()}
    for game in games:
        types = {r.id: r.type for r in game.receptacles}
        lies = facts[kind_of(types.values())].lies[game.goal.object_type]
        taboo = _tool_or_target(game)
        chances = {r: rate * n for r, n in Counter(types.values()).items() if r not in taboo and (rate := lies.get(r))}
        for thing in in_reach(game):
            if thing.type == game.goal.object_type and chances:
                found[game.family, home(thing, types, overlaps)] += 1
                for r, chance in chances.items():
                    expected[game.family, r] += chance / sum(chances.values())  # type: ignore[assignment]
    table: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for (family, r), number in sorted(expected.items()):
        if number >= LEAST:
            table[family][r] = [found[family, r], round(number)]
    return dict(table)


def _tool_or_target(game: Game) -> set[str | None]:
    return {TREATED[game.family][0]} if game.family in TREATED else {game.goal.target_type}


def _at_lamp(games: Iterable[Game], rooms: Mapping[str, Any]) -> list[int]:
    """[games to look at a thing where one of that type lies where the lamp stands, those in which it could]."""
    counts = [0, 0]
    for game in games:
        if game.family != LIGHT:
            continue
        types = {r.id: r.type for r in game.receptacles}
        spots = {thing.receptacle for thing in in_reach(game) if thing.type == game.goal.toggle_type}
        lies = rooms[kind_of(types.values())]["lies"][game.goal.object_type]
        if any(types[spot or ""] in lies for spot in spots):
            counts[0] += any(o.type == game.goal.object_type and o.receptacle in spots for o in in_reach(game))
            counts[1] += 1
    return counts


def _shut(games: Iterable[Game], rooms: Mapping[str, Any]) -> dict[str, list[int]]:
    """family -> [games in which a door has to be opened to get what is asked for, those in which it could be so]."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for game in games:
        doors = {r.id: r.type for r in game.receptacles if r.openable}
        lies = rooms[kind_of(r.type for r in game.receptacles)]["lies"][game.goal.object_type]
        outside = sum(o.type == game.goal.object_type and o.receptacle not in doors for o in in_reach(game))
        if (set(doors.values()) & set(lies)) - _tool_or_target(game):
            found[game.family][0] += outside < game.goal.count
            found[game.family][1] += 1
    return dict(sorted(found.items()))


def _single(games: Iterable[Game]) -> list[str]:
    """The receptacle types that hold one thing at most, but for a few pieces in a hundred."""
    held: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for game in games:
        inside = Counter(name for thing in in_reach(game) for name in (thing.receptacle, *thing.also_in))
        for r in game.receptacles:
            held[r.type][inside[r.id] > 1] += 1
    return sorted(kind for kind, counts in held.items() if counts[True] < RARE * counts.total())


def in_reach(game: Game) -> list[Object]:
    """The things that lie in or on furniture: nothing else can be seen or taken."""
    return [thing for thing in game.objects if thing.receptacle is not None]


def _capped(copies: int) -> int:
    return min(copies, MOST_COPIES)


def _overlaps(games: Sequence[Game]) -> dict[str, dict[str, float]]:
    """receptacle type -> another -> the share of its things that lie in one of the other too."""
    both: Counter[tuple[str, str]] = Counter()
    inside: Counter[str] = Counter()
    for game in games:
        types = {r.id: r.type for r in game.receptacles}
        for thing in in_reach(game):
            holders = [types[name] for name in (thing.receptacle or "", *thing.also_in)]
            inside.update(set(holders))
            both.update({(a, b) for n, a in enumerate(holders) for m, b in enumerate(holders) if n != m})
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (a, b), count in sorted(both.items()):
        if count >= RARE * inside[a] and count > 10:
            found[a][b] = round(count / inside[a], 3)
    return dict(found)


def _room(games: Sequence[Game], overlaps: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    furniture = [Counter(r.type for r in game.receptacles) for game in games]
    things = [Counter(thing.type for thing in in_reach(game)) for game in games]
    facts: dict[str, Any] = {
        "furniture": _furniture(furniture),
        "furniture_tree": _tree(_levels(furniture)),
        "things": _copies(games, things),
        "things_tree": _tree(_presence(games)),
        "lies": _lies(games, overlaps),
        "doors": _doors(games),
        "beside": _beside(games),
        "groups": _groups(games),
    }
    return {"games": len(games), **facts, "totals": _totals(games, room_facts({**facts, "totals": {}}))}


def _totals(games: Sequence[Game], facts: RoomFacts) -> dict[str, list[int]]:
    """fours of receptacles in a room -> [games, games expected if they were furnished by the tree alone]."""
    dice = random.Random(0)
    common = COMMON[kind_of(r.type for r in games[0].receptacles)]
    found = Counter(fours(len(game.receptacles)) for game in games)
    drawn = Counter(fours(len(facts.draw_furniture(dice, common))) for _ in range(DRAWS))
    return {str(n): [found[n], round(drawn[n] * len(games) / DRAWS)] for n in sorted({*found, *drawn})}


def _furniture(rows: Sequence[Counter[str]]) -> dict[str, dict[str, list[int]]]:
    """receptacle type -> how many of it -> [level, games]; the levels part the games in about equal numbers."""
    found: dict[str, dict[str, list[int]]] = {}
    for kind in sorted({kind for row in rows for kind in row}):
        counts = Counter(row[kind] for row in rows if row[kind])
        found[kind] = {}
        below = level = 0
        for n, games in sorted(counts.items()):
            if below * LEVELS >= level * counts.total():
                level += 1
            found[kind][str(n)] = [level, games]
            below += games
    return found


def _levels(rows: Sequence[Counter[str]]) -> list[dict[str, int]]:
    levels = _furniture(rows)
    return [{kind: levels[kind][str(n)][0] for kind, n in row.items()} for row in rows]


def _tree(rows: Sequence[Mapping[str, int]]) -> dict[str, Table]:
    """The pairs of types that tell most about each other, joined to a tree: "a b" -> games by the levels of both.

    It is the tree whose product of pair frequencies is most likely (Chow and Liu 1968).
    """
    names = sorted({name for row in rows for name in row})
    most = {name: max(row.get(name, 0) for row in rows) for name in names}
    tables = {(a, b): _pair(rows, a, b, most) for a, b in combinations(names, 2)}
    ranked = sorted(tables, key=lambda pair: (-information(tables[pair]), pair))
    group = {name: name for name in names}
    kept = []
    for a, b in ranked:
        if group[a] != group[b]:
            kept.append((a, b))
            old = group[b]
            group |= {name: group[a] for name in names if group[name] == old}
    return {f"{a} {b}": tables[a, b] for a, b in sorted(kept)}


def _pair(rows: Sequence[Mapping[str, int]], a: str, b: str, most: Mapping[str, int]) -> Table:
    table = [[0] * (most[b] + 1) for _ in range(most[a] + 1)]
    for row in rows:
        table[row.get(a, 0)][row.get(b, 0)] += 1
    return table


def information(table: Table) -> float:
    """Mutual information in nats of the two counts of a table."""
    total = sum(map(sum, table))
    row_sums, column_sums = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    return sum(
        n / total * math.log(n * total / (row_sums[i] * column_sums[j]))
        for i, row in enumerate(table)
        for j, n in enumerate(row)
        if n
    )


def _copies(games: Sequence[Game], rows: Sequence[Counter[str]]) -> dict[str, list[int]]:
    """object type -> games that have 1, 2, ... of it and do not ask for it, if there are such games."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0] * MOST_COPIES)
    asked: defaultdict[str, list[int]] = defaultdict(lambda: [0] * MOST_COPIES)
    for game, row in zip(games, rows, strict=True):
        for kind, n in row.items():
            (asked if kind == game.goal.object_type else found)[kind][_capped(n) - 1] += 1
    return {kind: found.get(kind) or asked[kind] for kind in sorted({*found, *asked})}


def _presence(games: Iterable[Game]) -> list[dict[str, int]]:
    """The types of things in reach, at level 1; without the games that have a lamp because they ask for it."""
    return [{thing.type: 1 for thing in in_reach(game)} for game in games if game.family != LIGHT]


def _lies(games: Sequence[Game], overlaps: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, int]]:
    """object type -> receptacle type -> things found there that the task does not ask for."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for game in games:
        types = {r.id: r.type for r in game.receptacles}
        for thing in in_reach(game):
            table = asked if thing.type == game.goal.object_type else found
            table[thing.type][home(thing, types, overlaps)] += 1
    return {kind: dict(sorted((found.get(kind) or asked[kind]).items())) for kind in sorted({*found, *asked})}


def home(thing: Object, types: Mapping[str, str], overlaps: Mapping[str, Mapping[str, float]]) -> str:
    """The receptacle type that a thing lies in: where two overlap, the one that stands on the other."""
    holders = [types[name] for name in (thing.receptacle or "", *thing.also_in)]
    on_top = [a for a in holders if any(b in overlaps.get(a, ()) for b in holders)]
    return (on_top or holders)[0]


def _doors(games: Iterable[Game]) -> dict[str, dict[str, int]]:
    """receptacle type that ever opens -> tenths of a room's pieces that do -> rooms."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for game in games:
        pieces: defaultdict[str, list[bool]] = defaultdict(list)
        for r in game.receptacles:
            pieces[r.type].append(r.openable)
        for kind, opening in pieces.items():
            found[kind][round(10 * sum(opening) / len(opening))] += 1
    return {
        kind: {str(tenths): rooms for tenths, rooms in sorted(counts.items())}
        for kind, counts in sorted(found.items())
        if counts.keys() != {0}
    }


def _beside(games: Sequence[Game]) -> dict[str, dict[str, list[int]]]:
    """type -> an earlier type -> [pieces reached from the same spot as one of it, pieces that could be].

    Earlier is what comes first in the order of types: the order in which rooms are furnished.
    """
    joined: Counter[tuple[str, str]] = Counter()
    could: Counter[tuple[str, str]] = Counter()
    for game in games:
        pieces = sorted((r.type, r.location) for r in game.receptacles)
        owner: dict[str, str] = {}
        earlier: Counter[str] = Counter()
        for kind, place in pieces:
            could.update((kind, other) for other in earlier if other != kind)
            if owner.setdefault(place, kind) != kind:
                joined[kind, owner[place]] += 1
            earlier[kind] += 1
    found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for (kind, other), count in sorted(joined.items()):
        if count >= RARE * could[kind, other]:
            found[kind][other] = [count, could[kind, other]]
    return dict(found)


def _groups(games: Sequence[Game]) -> dict[str, list[list[int]]]:
    """type -> for 1, 2, ... pieces of it at one spot: [times that the next piece is there too, times there is a next].

    The pieces of a room come in no known order, so each of its spots is the last with the same chance.
    """
    joined: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * MOST_TOGETHER)
    left: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * MOST_TOGETHER)
    for game in games:
        spots: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for r in game.receptacles:
            spots[r.type][r.location] += 1
        for kind, sizes in spots.items():
            for size in sizes.values():
                for place in range(min(size, MOST_TOGETHER) - 1):
                    joined[kind][place] += 1
                left[kind][min(size, MOST_TOGETHER) - 1] += 1 - 1 / len(sizes)
    return {
        kind: [[round(j), round(j + stayed)] for j, stayed in zip(counts, left[kind], strict=True)]
        for kind, counts in sorted(joined.items())
    }


if __name__ == "__main__":
    main()
