"""What made encyclopedias call things: names put together from parts, all of them made up."""

from __future__ import annotations

from itertools import product

_GIVEN_HEADS = "Ad Bel Cor Dal El Fen Gar Hal Ing Jor Kel Lor Mir Nor Os Per"
_GIVEN_TAILS = "an ia en ra is mund win ette"
_FAMILY_HEADS = "Ash Birk Cran Dunn Eld Farn Gold Hart Isen Kolb Lind Marl Nyl Oak Pell Quil Rath Stor Thorn Voss"
_FAMILY_TAILS = "er by well mann berg stone ley"
_PLACE_HEADS = "Arn Bex Cald Dor Esk Fal Grim Hol Ivel Kirk Lan Mor Nern Olm Pen Rav Sel Tarn Ulm Wey"
_PLACE_TAILS = "ford mouth burg haven dale minster wick holm"
_ADJECTIVES = (
    "Silver Broken Quiet Crimson Hidden Hollow Golden Winter Burning Drowned Patient Velvet Crooked "
    "Distant Gentle Iron Laughing Naked Painted Restless Secret Tender Wandering White Wooden Bitter "
    "Frozen Lonely Narrow Sleeping"
)
_NOUNS = (
    "Lamp River Garden Bell Mirror Harvest Crown Stair Orchard Candle Ladder Kettle Window Bridge Shore "
    "Tower Valley Violin Lantern Feather Anchor Barrel Compass Desert Engine Fountain Glove Hammer Island "
    "Jar Key Meadow Needle Oven Pillow Ribbon Saddle Thimble Wagon Yard"
)
_RIVERS = "Ouse Tweel Brane Colne Derwin Eamon Frome Glane Issel Lune Mease Nidd"
_EMBLEMS = (
    "heron otter badger falcon lynx raven stag hare pike wolf bear crane fox swan eel thistle oak rose "
    "fern lily anchor star wheel plough ladder sickle harp drum sail tower"
)


def _joined(heads: str, tails: str) -> tuple[str, ...]:
    return tuple(head + tail for head, tail in product(heads.split(), tails.split()))


GIVEN = _joined(_GIVEN_HEADS, _GIVEN_TAILS)
FAMILY = _joined(_FAMILY_HEADS, _FAMILY_TAILS)
PEOPLE = tuple(f"{given} {family}" for given, family in product(GIVEN, FAMILY))
TOWNS = _joined(_PLACE_HEADS, _PLACE_TAILS)
PLACES = (*TOWNS, *(f"{side} {town}" for side, town in product(("Upper", "Lower", "East", "West", "New"), TOWNS)))
WORKS = tuple(f"The {adjective} {noun}" for adjective, noun in product(_ADJECTIVES.split(), _NOUNS.split()))
EVENTS = tuple(f"{what} of {town}" for what, town in product(("Day", "Oath", "Ride", "Supper"), TOWNS))
RIVERS = tuple(f"the {river}" for river in _RIVERS.split())
EMBLEMS = tuple(_EMBLEMS.split())
KINDS = {
    "person": ("painter", "sailor", "poet", "baker", "judge", "singer", "miller", "printer"),
    "work": ("novel", "opera", "play", "ballad", "film", "hymn"),
    "place": ("village", "port", "market town", "spa"),
    "event": ("feast", "march", "muster", "tourney"),
}
