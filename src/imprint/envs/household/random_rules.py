"""Games with random rules: households in which only the skill text explains what to do.

A base policy should act in the household's language and follow the skill text in its context, but not know the real
recipes. So it is trained on games whose recipe is redrawn every time: *which* verb changes an object at *which*
receptacle, what ends the task, and which sentence asks for it. In such a game, "put a hot mug in cabinet" may mean to
clean the mug with the toaster, or to hold it while a candle burns; only the skill text explains it.

The real pairs (heat with a microwave, cool with a fridge, clean with a sink, the desk and floor lamp as what ends a
task) are never drawn; in the varied lessons they are, but not for a goal that speaks of it: what never occurs is
learned as impossible. A few fixed recipes with made-up goal words are shown with and without their skill text, so
that the policy also learns closed-book recipes.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

from imprint.envs.household.catalog import ROOMS
from imprint.envs.household.game import Game, Goal, Object, Rules
from imprint.envs.household.maker import MakerConfig, make_game
from imprint.envs.household.splits import asks_of
from imprint.skills.skill import Skill

VERBS = ("heat", "cool", "clean")
FLAG_OF = {"heat": "ishot", "cool": "iscool", "clean": "isclean"}
REAL_TOOLS = {
    "heat": frozenset({"Microwave"}),
    "cool": frozenset({"Fridge"}),
    "clean": frozenset({"Sink", "SinkBasin"}),
}
REAL_LAMPS = frozenset({"DeskLamp", "FloorLamp"})
# All there are; `orders.THINGS` has those that some place can be asked to hold.
OBJECT_TYPES = sorted({thing.type for room in ROOMS for thing in room.things})
GOAL_WORDS = (
    "hot",
    "cool",
    "clean",
    "warm",
    "cold",
    "fresh",
    "shiny",
    "dry",
    "ready",
    "bright",
    "soft",
    "neat",
)
SENTENCES = (
    "put a {word} {object} in {target}.",
    "{verb} some {object} and put it in {target}.",
    "put some {object} on {target}.",
    "put a {object} in {target}.",
    "put two {object} in {target}.",
    "find two {object} and put them in {target}.",
    "look at {object} under the {target}.",
    "examine the {object} with the {target}.",
)
# The words of a goal that a verb's real recipe belongs to.
GOAL_WORDS_OF = {"heat": ("hot", "warm"), "cool": ("cool", "cold", "fresh"), "clean": ("clean", "shiny", "neat")}
LOOKING = ("look at", "examine")
KNOWN_SENTENCE = "put a {word} {object} in {target}."


@dataclass(frozen=True, slots=True)
class TaskRecipe:
    """What a game with random rules asks for.

    Attributes:
        treatments: (verb, receptacle type) in order; empty, one or two of them.
        count: how many objects to place.
        lamp: the object type to `use` while holding the object, instead of placing it.
    """

    treatments: tuple[tuple[str, str], ...] = ()
    count: int = 1
    lamp: str | None = None


# Made-up goal words with a recipe that never changes: what the base policy learns closed-book.
CLOSED_BOOK = {
    "zorby": TaskRecipe((("cool", "CounterTop"),)),
    "glim": TaskRecipe((("clean", "GarbageCan"),)),
    "plinky": TaskRecipe((("heat", "Drawer"),)),
    "drast": TaskRecipe((("cool", "Shelf"),)),
    "veluma": TaskRecipe(),
    "krono": TaskRecipe(count=2),
    "shaly": TaskRecipe(lamp="HousePlant"),
    "tiff": TaskRecipe((("clean", "Cabinet"), ("heat", "SideTable"))),
}


@dataclass(frozen=True, slots=True)
class RandomRules:
    """A game with its own rules, the recipe that solves it, and the skills that explain it (none: closed-book)."""

    game: Game
    recipe: TaskRecipe
    pages: tuple[Skill, ...]
    varied: bool = False  # of a varied lesson
    pairs: bool = False  # of the lesson of that name


@dataclass(frozen=True, slots=True)
class Lesson:
    """The distribution that games are drawn from.

    Attributes:
        closed_book: the share with a made-up goal word, whose recipe never changes.
        no_page: the share of those without skill text.
        unread: the share of the others without it: nothing explains the recipe, and it can only be tried out.
        words: how much text a skill has beside what is special about its recipe: 1 is like the real ones, 0 none.
        chain: treatments in every recipe, for many things to look up in one episode; 0 draws recipes of all kinds.
        varied: any thing is asked for, any thing ends a task, the second of two things is fetched more often, and texts
            give advice for other tasks: fewer cues by which a recipe could be guessed without reading.
        renamed: the share of games in which every object bears the name of another.
        pairs: most recipes are for two things, and the search for the second is taught otherwise (`teacher.py`).
    """

    closed_book: float = 0.2
    no_page: float = 0.5
    unread: float = 0.08
    words: float = 1.0
    chain: int = 0
    varied: bool = False
    renamed: float = 0.0
    pairs: bool = False


# From easy to real: carry out one line after the other, act without skill text, carry out one line, read short skill
# text, read skill text of real length. Then the same varied, and last where no name says what a thing is good for.
PLAIN_LESSONS = {
    "drill": Lesson(closed_book=0.0, unread=0.0, words=0.0, chain=4),
    "closed_book": Lesson(closed_book=1.0, no_page=1.0),
    "line": Lesson(words=0.0),
    "terse": Lesson(words=0.15),
    "full": Lesson(),
}
LESSONS = PLAIN_LESSONS | {
    **{f"varied-{name}": replace(lesson, varied=True) for name, lesson in PLAIN_LESSONS.items()},
    "renamed": Lesson(varied=True, renamed=1.0),
    "pairs": Lesson(varied=True, renamed=1.0, pairs=True),
}


def make_random_rules(seed: int, *, size: str = "small", lesson: Lesson = LESSONS["full"]) -> RandomRules:
    """A game, its recipe and its skills, drawn from `seed` alone."""
    rng = random.Random(f"dream/{seed}")
    known = rng.random() < lesson.closed_book
    word = rng.choice(sorted(CLOSED_BOOK) if known else GOAL_WORDS)
    shows_page = rng.random() >= (lesson.no_page if known else lesson.unread)
    for attempt in range(20_000):
        config = MakerConfig(seed=rng.randrange(1 << 30), size=size)  # type: ignore[arg-type]
        base = make_game("train", rng.randrange(1 << 20), config)
        if lesson.renamed and rng.random() < lesson.renamed:
            base = _renamed(base, rng)
        recipe = CLOSED_BOOK.get(word) or draw_recipe(base, rng, lesson)
        if lesson.varied and recipe is not None and recipe.lamp is not None:
            base = _about_any_object(base, recipe.lamp, rng)
        if recipe is None or not _fits(base, recipe):
            continue
        if any(word in GOAL_WORDS_OF[verb] for verb in real_verbs(recipe)):
            continue
        game = _game_with_rules(base, recipe, word, known, rng, f"dream/{seed}/{attempt}")
        if game is not None:
            pages = write_pages(game, recipe, word, rng, lesson) if shows_page else ()
            return RandomRules(game, recipe, pages, lesson.varied, lesson.pairs)
    raise AssertionError(f"no game fits the recipe of seed {seed}")


KINDS = ("treat", "treat-two", "place", "two", "use")
WEIGHTS = (45, 8, 12, 15, 20)
VARIED_WEIGHTS = (30, 6, 9, 40, 25)  # many games have no two things of a kind
PAIRS_WEIGHTS = (30, 6, 9, 100, 25)


def draw_recipe(game: Game, rng: random.Random, lesson: Lesson) -> TaskRecipe | None:
    """A recipe that this game's furniture allows, with a real pair of verb and tool in varied lessons alone."""
    if lesson.chain:
        return _draw_chain(game, rng, lesson.chain)
    varied = PAIRS_WEIGHTS if lesson.pairs else VARIED_WEIGHTS
    kind = rng.choices(KINDS, weights=varied if lesson.varied else WEIGHTS)[0]
    if kind == "use":
        lamps = _lamp_candidates(game)
        if not lesson.varied:
            lamps = [lamp for lamp in lamps if lamp not in REAL_LAMPS]
        return TaskRecipe(lamp=rng.choice(lamps)) if lamps else None
    if kind in ("place", "two"):
        return TaskRecipe(count=2 if kind == "two" else 1)
    verbs = [rng.choice(VERBS)]
    if kind == "treat-two":
        verbs = ["clean", rng.choice(("heat", "cool"))]
        rng.shuffle(verbs)
    treatments = []
    for verb in verbs:
        real = frozenset[str]() if lesson.varied else REAL_TOOLS[verb]
        tools = sorted({r.type for r in game.receptacles} - real - {game.goal.target_type or ""})
        if not tools:
            return None
        treatments.append((verb, rng.choice(tools)))
    return TaskRecipe(treatments=tuple(treatments))


def real_verbs(recipe: TaskRecipe) -> list[str]:
    """The verbs of a recipe that it pairs with a real tool: its goal must not speak of them."""
    return [verb for verb, tool in recipe.treatments if tool in REAL_TOOLS[verb]]


def _draw_chain(game: Game, rng: random.Random, length: int) -> TaskRecipe | None:
    """A recipe of `length` treatments, each with a tool of its own."""
    tools = sorted({r.type for r in game.receptacles} - {game.goal.target_type or ""})
    if len(tools) < length or game.goal.target_type is None:
        return None
    return TaskRecipe(
        treatments=tuple(
            (rng.choice([verb for verb in VERBS if tool not in REAL_TOOLS[verb]]), tool)
            for tool in rng.sample(tools, length)
        )
    )


def _renamed(game: Game, rng: random.Random) -> Game:
    """The same game with the names of its objects drawn anew from all there are, those of fixed things included.

    What a thing is called then says nothing of what is done with it. Otherwise words that only ever play one part in
    the demonstrations (a desk lamp is never used in them, a candle often) are learned as that part.
    """
    kinds = sorted({thing.type for thing in game.objects})
    names = dict(zip(kinds, rng.sample(OBJECT_TYPES, len(kinds)), strict=True))
    ids = {thing.id: names[thing.type] + thing.id.removeprefix(thing.type) for thing in game.objects}
    objects = tuple(
        replace(thing, id=ids[thing.id], type=names[thing.type], inside=ids[thing.inside] if thing.inside else None)
        for thing in game.objects
    )
    lamp = game.goal.toggle_type
    goal = replace(game.goal, object_type=names[game.goal.object_type], toggle_type=names[lamp] if lamp else None)
    holds = frozenset((place, names[kind]) for place, kind in game.can_contain)
    return replace(game, objects=objects, goal=goal, can_contain=holds)


def _about_any_object(game: Game, lamp: str, rng: random.Random) -> Game:
    """The game about any portable thing in it, mostly about one that few goals ask for.

    Without this, a type that no training goal names (their split leaves out a teddy bear) is a word that the base
    policy sees in lists and never learns to take.
    """
    types = {thing.type for thing in game.objects if thing.receptacle is not None and "pickupable" in thing.flags}
    kinds = sorted(types - {lamp})
    if not kinds:
        return game
    (kind,) = rng.choices(kinds, weights=[1 / (1 + _goals_about()[kind]) for kind in kinds])
    return replace(game, goal=replace(game.goal, object_type=kind))


@cache
def _goals_about() -> Counter[str]:
    """How many training goals ask for each object type."""
    return Counter(ask.object_type for asks in asks_of("train").values() for ask in asks)


def _lamp_candidates(game: Game) -> list[str]:
    types = {thing.type for thing in game.objects if thing.receptacle is not None}
    return sorted(types - {game.goal.object_type})


def _fits(game: Game, recipe: TaskRecipe) -> bool:
    types = {receptacle.type for receptacle in game.receptacles}
    if any(tool not in types for _, tool in recipe.treatments):
        return False
    if (recipe.lamp is None) != (game.goal.toggle_type is None) and game.goal.target_type is None:
        return False  # placing needs a place to put it
    if recipe.lamp is not None and recipe.lamp not in _lamp_candidates(game):
        return False
    copies = sum(thing.type == game.goal.object_type for thing in game.objects)
    return copies >= recipe.count and any(tool == game.goal.target_type for _, tool in recipe.treatments) is False


def _game_with_rules(
    base: Game, recipe: TaskRecipe, word: str, known: bool, rng: random.Random, name: str
) -> Game | None:
    kind = base.goal.object_type
    flags = frozenset({"cleanable", "heatable", "coolable"})
    altered = frozenset(FLAG_OF.values())

    def adapt(thing: Object) -> Object:
        own = thing.flags - altered
        if thing.type == kind:
            own |= flags
        if thing.type == recipe.lamp:
            own |= {"toggleable"}
        return replace(thing, flags=own)

    target = base.goal.target_type
    require = _flags_after(recipe)
    goal = (
        Goal(kind, toggle_type=recipe.lamp)
        if recipe.lamp is not None
        else Goal(kind, target_type=target, count=recipe.count, require=require)
    )
    rules = Rules(
        **{verb: frozenset(tool for v, tool in recipe.treatments if v == verb) for verb in VERBS},
    )
    placed = sum(
        thing.type == kind and thing.receptacle is not None and _type_of(base, thing.receptacle) == target
        for thing in base.objects
    )
    if recipe.lamp is None and placed and not require:
        return None  # already (partly) there
    wordings = [text for text in SENTENCES if not (recipe.lamp in REAL_LAMPS and text.startswith(LOOKING))]
    sentence = (KNOWN_SENTENCE if known else rng.choice(wordings)).format(
        word=word,
        verb=rng.choice([verb for verb in VERBS if verb not in real_verbs(recipe)]),
        object=kind.lower(),
        target=(target or recipe.lamp or "room").lower(),
    )
    return replace(
        base,
        id=name,
        sentence=sentence,
        objects=tuple(adapt(thing) for thing in base.objects),
        goal=goal,
        rules=rules,
        walkthrough=(),
    )


def _flags_after(recipe: TaskRecipe) -> frozenset[str]:
    """What an object is after the treatments: heat and cool undo each other."""
    undone = {"heat": "iscool", "cool": "ishot", "clean": ""}
    flags: set[str] = set()
    for verb, _ in recipe.treatments:
        flags = (flags - {undone[verb]}) | {FLAG_OF[verb]}
    return frozenset(flags)


def _type_of(game: Game, receptacle: str) -> str:
    return next(r.type for r in game.receptacles if r.id == receptacle)


# --- pages ---------------------------------------------------------------------------------------------------------

INTROS = (
    "Use this page when the goal asks for {goal}.",
    "This is how to do a task that asks for {goal}.",
    "The goal asks for {goal}. It takes these steps.",
    "Follow these steps in this order when the goal is {goal}.",
    "A task of this kind is done in a few steps.",
    "Do these steps one after the other.",
    "The steps are always the same.",
)
FIND = (
    "Search the places one by one until you see the {object}.",
    "Find the {object}: go to each place and open it if it is closed.",
    "Go from place to place until you see the {object}.",
    "Look for the {object} in every place of the room.",
    "First find the {object}.",
)
TAKE = (
    "Take it, for example: take {object} 1 from {source} 1.",
    "When you see it, take {object} 1 from {source} 2.",
    "Take it as soon as you see it.",
    "Pick it up: take {object} 1 from {source} 1.",
    "Take the {object}.",
)
TREAT = (
    "Carry it to the {tool} and {verb} it there: {verb} {object} 1 with {tool} 1.",
    "Go to {tool} 1, then {verb} {object} 1 with {tool} 1.",
    "With the {object} in hand, go to the {tool} and {verb} it with the {tool}.",
    "Go to the {tool}. There, {verb} {object} 1 with {tool} 1.",
    "Now {verb} it with the {tool}: go to {tool} 1, {verb} {object} 1 with {tool} 1.",
)
PLACE = (
    "Go to the goal place and move it there: move {object} 1 to {target} 1.",
    "Bring it to the place that the goal names, open that if it is closed, and move it in.",
    "Last, go to the goal place, for example {target} 1, and move it there: move {object} 1 to {target} 1.",
    "Then carry it to the goal place and move it there.",
    "At the end go to the place in the goal and move it there, for example: move {object} 1 to {target} 1.",
)
UNTREATED = (
    "Nothing has to be done to it: do not heat, cool or clean it.",
    "Do not heat, cool or clean it.",
    "Keep it as it is.",
)
PLAIN = (
    "Nothing else has to be done to it: do not heat, cool or clean it.",
    "Keep it as it is.",
    "There is nothing to do between the take and the move.",
    "Carry it straight to the goal place.",
)
USE = (
    "Keep it in your hand, go to the {lamp} and use {lamp} 1.",
    "With the {object} in hand, find the {lamp} and turn it on: use {lamp} 1.",
    "Hold it, go where the {lamp} is, and use {lamp} 1.",
    "Do not put it down: go to the {lamp} with it and use {lamp} 1.",
)
TWO = (
    "Then find a second {object}, take it and move it to the same place.",
    "Go back for another {object} and bring it to the same place.",
    "Now do the same with a second {object}: find it, take it, and move it to the same place.",
    "Two are needed: fetch one more {object} and move it there too.",
)
TOOL_TIPS = (
    "The {tool} need not be open for this.",
    "Do not put it into the {tool}: keep it in your hand while you {verb} it.",
    "Only the {tool} can {verb} it.",
    "You must stand at the {tool} and hold it.",
    "If nothing happens, you are not at the {tool} yet.",
)
TIPS = (
    "You can hold only one thing at a time.",
    "Visit each place once and do not go back to an empty one.",
    "Open a closed place to see what is in it.",
    "When you see nothing you need, go on to the next place.",
    "The first message lists all the places in the room.",
    "Names must have their number, as in the message.",
    "If nothing happens, the command was wrong: do not say it again.",
    "Read the goal again before you act.",
    "Take only what the goal names and leave all other things.",
    "Go straight to a place when you know where it is.",
    "Do not close what you have opened.",
    "Any thing of the right kind will do.",
    "One command a turn is all you can give.",
    "Look at what each place holds before you leave it.",
    "Remember where you saw a thing that you will need later.",
    "Do not take a thing that is already where it should be.",
    "The order of the steps matters.",
    "Do not skip a step.",
    "When the goal names a place, any place of that kind will do.",
    "Things can be on top of a place or in it.",
    "Start with the places that are open.",
    "There is no need to look around or to check what you hold.",
    "Use each place's full name, with its number.",
    "You are done when the last step is done.",
)
GENERAL_INTROS = (
    "These rules help with every task in the house.",
    "Some rules for all tasks.",
    "Keep these rules in mind.",
    "General advice for any goal.",
)


def write_pages(game: Game, recipe: TaskRecipe, word: str, rng: random.Random, lesson: Lesson) -> tuple[Skill, ...]:
    """The skills of a game: its own, mostly after a general one; in random wording."""
    pages = [_own_page(game, recipe, word, rng, lesson)]
    if rng.random() < 0.85 * lesson.words:
        pages.insert(0, _general_page(rng))
    return tuple(pages)


def _general_page(rng: random.Random) -> Skill:
    sentences = [rng.choice(GENERAL_INTROS), *rng.sample(TIPS, rng.randint(6, 13))]
    description = f"{rng.choice(GENERAL_INTROS)} {rng.choice(TIPS)}"
    return Skill(name="household-general", description=description, body=_layout(sentences, rng))


def _own_page(game: Game, recipe: TaskRecipe, word: str, rng: random.Random, lesson: Lesson) -> Skill:
    kind = game.goal.object_type.lower()
    places = sorted({r.type.lower() for r in game.receptacles})
    # Examples in skill text mention other objects and places as often as the ones in the goal.
    example = kind if rng.random() < 0.3 else rng.choice(sorted({o.type.lower() for o in game.objects}))
    words = {
        "object": rng.choice((example, "object")) if rng.random() < 0.3 else example,
        "source": rng.choice(places),
        # The destination is in the goal, not in the skill text.
        "target": (game.goal.target_type or "").lower() if rng.random() < 0.2 else rng.choice(places),
        "lamp": (recipe.lamp or "").lower(),
        "goal": rng.choice((f"{word} things", f"a {word} {example}", "such a thing", f"{word} {example}")),
    }
    special: list[str] = []  # what sets this recipe apart from any other
    tool_tips: list[str] = []
    for verb, tool in recipe.treatments:
        special.append(rng.choice(TREAT).format(verb=verb, tool=tool.lower(), **words))
        tool_tips += [tip.format(tool=tool.lower(), verb=verb) for tip in rng.sample(TOOL_TIPS, rng.randint(0, 2))]
    if recipe.lamp is not None:
        special.append(rng.choice(USE).format(**words))
    elif not recipe.treatments:
        special.append(rng.choice(PLAIN).format(**words))
    ending = [rng.choice(TWO).format(**words)] if recipe.count == 2 else []
    if not lesson.words:
        return Skill(name="household-task", description="", body=" ".join(special + ending))
    filled = [rng.choice(FIND).format(**words), rng.choice(TAKE).format(**words)]
    if recipe.treatments or recipe.lamp is not None or rng.random() < 0.6:
        filled += special
    if recipe.lamp is None:
        filled.append(rng.choice(PLACE).format(**words))
    filled += ending
    if lesson.varied and recipe.lamp is not None and rng.random() < 0.5:
        tool_tips.append(rng.choice(UNTREATED))  # said of what is only carried, it would give the recipe away
    extra = [tip for tip in tool_tips + rng.sample(TIPS, rng.randint(1, 6)) if rng.random() < lesson.words]
    rng.shuffle(extra)
    intro = rng.choice(INTROS).format(**words)
    body = intro + "\n\n" + _numbered(filled, rng) + "\n\n" + " ".join(extra)
    description = rng.choice(INTROS).format(**words) + " " + (rng.choice(filled) if rng.random() < 0.5 else "")
    name = "household-" + rng.choice(("task", word, "goal", rng.choice(VERBS), "pick", "look", "two"))
    return Skill(name=name, description=description.strip(), body=body)


def _numbered(steps: list[str], rng: random.Random) -> str:
    if rng.random() < 0.7:
        return "\n".join(f"{place}. {step}" for place, step in enumerate(steps, start=1))
    return " ".join(steps)


def _layout(sentences: list[str], rng: random.Random) -> str:
    style = rng.random()
    if style < 0.4:
        return "\n".join(f"- {sentence}" for sentence in sentences)
    return _numbered(sentences, rng) if style < 0.7 else " ".join(sentences)
