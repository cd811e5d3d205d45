"""What the made households are built from: facts of ALFRED's rooms, counted over the published games.

Which thing goes where (`CONTAINS`), what can be done to it, which furniture a room has and how much of it,
and which things lie about in it and how many.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

# receptacle type -> the object types that may be put there
CONTAINS: dict[str, frozenset[str]] = {
    receptacle: frozenset(things.split())
    for receptacle, things in {
        "ArmChair": "Book Box CellPhone Cloth CreditCard KeyChain Laptop Newspaper Pillow RemoteControl",
        "BathtubBasin": "Cloth DishSponge HandTowel SoapBar",
        "Bed": "BaseballBat BasketBall Book CellPhone Laptop Pillow TennisRacket",
        "Cabinet": "Book Bowl Box CD Candle Cloth Cup DishSponge Glassbottle HandTowel Kettle Ladle Mug"
        " Newspaper Pan PepperShaker Plate Plunger Pot SaltShaker SoapBar SoapBottle SprayBottle TissueBox"
        " ToiletPaper Vase WateringCan WineBottle",
        "Cart": "Candle Cloth DishSponge HandTowel Plunger SoapBar SoapBottle SprayBottle TissueBox ToiletPaper",
        "CoffeeMachine": "Mug",
        "CoffeeTable": "Book Bowl Box Candle CellPhone CreditCard KeyChain Laptop Newspaper Pen Pencil"
        " Plate RemoteControl Statue TissueBox Vase Watch WateringCan",
        "CounterTop": "AlarmClock Apple Book Bowl Bread ButterKnife CD Candle CellPhone Cloth CreditCard"
        " Cup DishSponge Egg Fork Glassbottle HandTowel Kettle KeyChain Knife Ladle Laptop Lettuce Mug Pan"
        " Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar SoapBottle Spatula"
        " Spoon SprayBottle Statue TissueBox ToiletPaper Tomato Vase WineBottle",
        "Desk": "AlarmClock BasketBall Book Bowl Box CD CellPhone Cloth CreditCard KeyChain Laptop Mug Pen"
        " Pencil RemoteControl Statue TennisRacket TissueBox Vase Watch WateringCan",
        "DiningTable": "AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle"
        " CellPhone Cloth CreditCard Cup DishSponge Egg Fork Glassbottle Kettle KeyChain Knife Ladle Laptop"
        " Lettuce Mug Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker"
        " SoapBottle Spatula Spoon SprayBottle Statue TennisRacket TissueBox Tomato Vase Watch WateringCan"
        " WineBottle",
        "Drawer": "Book ButterKnife CD Candle CellPhone Cloth CreditCard DishSponge Fork HandTowel KeyChain"
        " Knife Ladle Newspaper Pen Pencil PepperShaker RemoteControl SaltShaker SoapBar SoapBottle Spatula"
        " Spoon SprayBottle TissueBox ToiletPaper Watch WateringCan",
        "Dresser": "AlarmClock BasketBall Book Bowl Box CD Candle CellPhone Cloth CreditCard KeyChain"
        " Laptop Mug Newspaper Pen Pencil Plate RemoteControl SprayBottle Statue TennisRacket TissueBox"
        " ToiletPaper Vase Watch WateringCan",
        "Fridge": "Apple Bowl Bread Cup Egg Glassbottle Lettuce Mug Pan Plate Pot Potato Tomato WineBottle",
        "GarbageCan": "Apple Bread CD Cloth DishSponge Egg HandTowel Lettuce Newspaper Pen Pencil Potato"
        " SoapBar SoapBottle SprayBottle TissueBox ToiletPaper Tomato WineBottle",
        "HandTowelHolder": "HandTowel",
        "LaundryHamper": "Cloth",
        "Microwave": "Apple Bowl Bread Cup Egg Glassbottle Mug Plate Potato Tomato",
        "Ottoman": "Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl",
        "Safe": "CD CellPhone CreditCard KeyChain Statue Vase",
        "Shelf": "AlarmClock Book Bowl Box CD Candle CellPhone Cloth CreditCard Cup DishSponge Glassbottle"
        " HandTowel Kettle KeyChain Mug Newspaper Pen Pencil PepperShaker Plate Pot RemoteControl"
        " SaltShaker SoapBar SoapBottle SprayBottle Statue TissueBox ToiletPaper Vase Watch WateringCan"
        " WineBottle",
        "SideTable": "AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle"
        " CellPhone Cloth CreditCard Cup DishSponge Egg Fork HandTowel Kettle KeyChain Knife Laptop Lettuce"
        " Mug Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar"
        " SoapBottle Spatula Spoon SprayBottle Statue TennisRacket TissueBox ToiletPaper Tomato Vase Watch"
        " WateringCan WineBottle",
        "SinkBasin": "Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Glassbottle HandTowel Kettle"
        " Knife Ladle Lettuce Mug Pan Plate Pot Potato SoapBar Spatula Spoon Tomato",
        "Sofa": "Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl",
        "StoveBurner": "Kettle Pan Pot",
        "TVStand": "TissueBox",
        "Toaster": "",
        "Toilet": "Candle Cloth DishSponge HandTowel SoapBar SoapBottle SprayBottle TissueBox ToiletPaper",
        "ToiletPaperHanger": "ToiletPaper",
        "TowelHolder": "Towel",
    }.items()
}

# Where a thing stands that cannot be put anywhere: it starts there, whoever takes it keeps it.
SITES: dict[str, tuple[str, ...]] = {
    "DeskLamp": ("Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable"),
    "FloorLamp": ("SideTable", "CoffeeTable", "DiningTable", "Desk", "Dresser", "TVStand"),
    "HousePlant": (
        "CounterTop",
        "DiningTable",
        "SideTable",
        "CoffeeTable",
        "Shelf",
        "Desk",
        "Dresser",
        "TVStand",
    ),
    "PaperTowelRoll": ("CounterTop", "DiningTable", "GarbageCan", "Shelf", "Toilet"),
    "TeddyBear": ("Bed",),
    "Television": ("TVStand", "Dresser"),
}
LAMPS = ("DeskLamp",)  # the only one that published goals ask for
FIXED = frozenset({"DeskLamp", "FloorLamp", "HousePlant", "Television"})

# flag -> the object types that have it
AFFORDANCES: dict[str, frozenset[str]] = {
    flag: frozenset(things.split())
    for flag, things in {
        "cleanable": "Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Kettle Knife Ladle Lettuce Mug"
        " Pan Plate Pot Potato SoapBar Spatula Spoon Tomato",
        "coolable": "Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Pot Potato Tomato WineBottle",
        "heatable": "Apple Bread Cup Egg Mug Plate Potato Tomato",
        "sliceable": "Apple Bread Egg Lettuce Potato Tomato",
        "isreceptacleobject": "Bowl Box Cup Mug Pan Plate Pot",
        "toggleable": "DeskLamp FloorLamp",
    }.items()
}

OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})
STUCK = {"Cabinet": 0.17, "Drawer": 0.16, "Safe": 0.17}  # the share of them that has no door to open
# How much likelier than any other place a thing is to be found there.
FAVOURED = {"CounterTop": 2.0, "Bed": 2.0, "DiningTable": 1.5, "StoveBurner": 3.0}
# The chance of being reached from the same spot as the last one of its kind, or as a counter top.
BESIDE_LAST = {"StoveBurner": 0.38, "Cabinet": 0.09, "Drawer": 0.11, "Shelf": 0.06}
BESIDE_COUNTER = {"Toaster": 0.31, "CoffeeMachine": 0.24}


@dataclass(frozen=True, slots=True)
class Furniture:
    """A receptacle type of a room: the share of rooms that have it; how many these have."""

    type: str
    share: float
    low: int
    mode: int
    high: int


@dataclass(frozen=True, slots=True)
class Thing:
    """An object type of a room: the share of rooms that have it, and how many these have on average."""

    type: str
    share: float
    mean: float


@dataclass(frozen=True, slots=True)
class Room:
    """A kind of room. `core` is the furniture that every room of the kind has, whatever its size."""

    name: str
    core: tuple[str, ...]
    furniture: tuple[Furniture, ...]
    things: tuple[Thing, ...]

    def places(self, object_type: str) -> tuple[Furniture, ...]:
        """The furniture of this kind of room that an object may lie in or on."""
        sites = SITES.get(object_type, ())
        return tuple(f for f in self.furniture if object_type in CONTAINS[f.type] or f.type in sites)


def _room(name: str, core: str, furniture: str, things: str) -> Room:
    pieces = [entry.split() for entry in furniture.split(",")]
    objects = [entry.split() for entry in things.split(",")]
    return Room(
        name,
        tuple(core.split()),
        tuple(Furniture(kind, float(share), int(a), int(b), int(c)) for kind, share, a, b, c in pieces),
        tuple(Thing(kind, float(share), float(mean)) for kind, share, mean in objects),
    )


ROOMS = (
    _room(
        "kitchen",
        "Fridge Microwave SinkBasin",  # all the tools, so that none gives the task away
        "Cabinet 1 2 11 27, CoffeeMachine 1 1 1 1, CounterTop 1 1 2 4, Drawer .96 1 3 13, Fridge 1 1 1 1,"
        " GarbageCan 1 1 1 1, Microwave 1 1 1 1, SinkBasin 1 1 1 1, StoveBurner 1 4 4 4, Toaster 1 1 1 1,"
        " DiningTable .56 1 1 3, Shelf .15 3 3 3, SideTable .11 1 1 1, Safe .04 1 1 1",
        "Apple 1 2, Bowl 1 2, Bread 1 1.6, Cup 1 2, DishSponge 1 2, Egg 1 2, Fork 1 2, Knife 1 2, Lettuce 1"
        " 1.8, Mug 1 2, Pan 1 1.4, PepperShaker 1 2.1, Plate 1 1.9, Pot 1 1.6, Potato 1 2, SaltShaker 1 2,"
        " SoapBottle 1 2, Spatula 1 2, Spoon 1 2, Tomato 1 2, ButterKnife .97 1.9, Kettle .52 1.8,"
        " WineBottle .42 2, HousePlant .37 1, Ladle .35 2, PaperTowelRoll .35 1, Glassbottle .24 2, Statue"
        " .15 1.8, Vase .15 2.5, Book .11 1.5, CellPhone .11 1.9, CreditCard .09 2.1, Pencil .07 1.8,"
        " SprayBottle .07 1.9, Pen .07 2",
    ),
    _room(
        "living room",
        "Sofa",
        "GarbageCan 1 1 1 1, Sofa 1 1 1 2, ArmChair .93 1 1 3, CoffeeTable .85 1 1 2, Drawer .78 1 4 12,"
        " SideTable .78 1 2 5, DiningTable .52 1 1 2, TVStand .44 1 1 2, Shelf .37 1 5 14, Dresser .33 1 1"
        " 2, Ottoman .15 1 1 1, Cabinet .11 1 4 8, Desk .04 1 1 1, Safe .04 1 1 1",
        "Box 1 1.4, CreditCard 1 2.2, FloorLamp 1 1, HousePlant 1 1, KeyChain 1 2, Laptop 1 1.4, Pillow 1"
        " 1.1, RemoteControl 1 2.1, Television 1 1, Statue .96 2.3, Newspaper .62 1.9, Vase .57 2.8, Watch"
        " .5 2.1, WateringCan .5 1.1, Plate .35 1.7, TissueBox .34 2.1, Book .27 1.8, DeskLamp .26 1,"
        " CellPhone .22 2, Pen .2 2, Pencil .17 2, Bowl .11 1.8, Candle .09 2.5",
    ),
    _room(
        "bedroom",
        "Bed",
        "Bed 1 1 1 2, GarbageCan 1 1 1 1, Drawer .96 2 4 14, Desk .67 1 1 2, Shelf .67 1 2 12, SideTable"
        " .67 1 1 2, Dresser .48 1 1 2, LaundryHamper .26 1 1 1, ArmChair .22 1 1 3, Safe .15 1 1 1,"
        " Cabinet .15 1 3 4, DiningTable .15 1 1 1, CounterTop .04 1 1 1",
        "AlarmClock 1 1.7, Book 1 1.9, CD 1 2.1, CellPhone 1 2.1, CreditCard 1 2, KeyChain 1 2.1, Laptop 1"
        " 1.6, Pen 1 2.1, Pencil 1 2, Pillow 1 1.7, DeskLamp .71 1, Mug .51 1.9, Box .47 1, Bowl .46 1.6,"
        " BaseballBat .41 1, TennisRacket .4 1, BasketBall .37 1, TeddyBear .35 1, HousePlant .27 1, Cloth"
        " .18 1.9, Statue .14 1.5, TissueBox .14 1.9, RemoteControl .12 2, Watch .07 2.1, Vase .06 2.2",
    ),
    _room(
        "bathroom",
        "SinkBasin Toilet",
        "GarbageCan 1 1 1 1, HandTowelHolder 1 1 1 4, SinkBasin 1 1 1 2, Toilet 1 1 1 1, ToiletPaperHanger"
        " 1 1 1 1, TowelHolder 1 1 1 2, CounterTop .85 1 1 2, BathtubBasin .7 1 1 1, Drawer .56 1 4 8,"
        " Cabinet .48 2 4 9, Shelf .26 1 2 4, Cart .07 1 1 1, Dresser .07 1 1 1, SideTable .07 1 1 1",
        "Candle 1 2.1, Cloth 1 2, HandTowel 1 1.2, SoapBar 1 2.1, SoapBottle 1 2, SprayBottle 1 2,"
        " ToiletPaper 1 2.3, Towel 1 1.1, TissueBox .25 1.9, DishSponge .24 2.3, PaperTowelRoll .16 1,"
        " HousePlant .04 1",
    ),
)


@cache
def flags_of(object_type: str) -> frozenset[str]:
    """The unary facts that hold for an untouched object of this type."""
    flags = {flag for flag, types in AFFORDANCES.items() if object_type in types}
    return frozenset(flags if object_type in FIXED else flags | {"pickupable"})
