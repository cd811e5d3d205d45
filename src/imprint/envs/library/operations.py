"""What the functions of a made package do: operations on a list of whole numbers, in four areas.

Everybody who can program knows these operations; what only the documentation tells is the *name* that a package gives
to each. Every operation is said in several ways, of which a task uses one and the documentation another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod

Value = int | tuple[int, ...]

AREAS = ("arranging", "choosing", "changing", "summing_up")
SMALLEST, LARGEST = 2, 9  # of the number `n` that some functions take


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a function can do.

    Attributes:
        key: names it in this code; no text shows it.
        asks: the ways in which a task asks for it, `{n}` being the number; no two operations share one.
        says: the ways in which documentation describes it.
        run: of the list and of the number. It may raise ValueError, for a list that is too short.
    """

    key: str
    area: str
    asks: tuple[str, ...]
    says: tuple[str, ...]
    run: Callable[[Sequence[int], int], Sequence[int] | int]

    @property
    def takes_number(self) -> bool:
        return "{n}" in self.asks[0]

    @property
    def gives_number(self) -> bool:
        """Whether the result is one number, after which nothing can follow."""
        return self.area == "summing_up"

    def __call__(self, items: Sequence[int], number: int = 0) -> Value:
        """Raises ValueError: the list is too short for it."""
        result = self.run(items, number)
        return result if isinstance(result, int) else tuple(result)


def _some(items: Sequence[int]) -> Sequence[int]:
    if not items:
        raise ValueError("the list is empty")
    return items


def _rotated(items: Sequence[int], steps: int) -> Sequence[int]:
    steps = steps % len(items) if items else 0
    return [*items[steps:], *items[:steps]]


def _operations() -> tuple[Operation, ...]:
    arranging, choosing, changing, summing_up = AREAS
    rows: list[tuple[str, str, str, str, Callable[[Sequence[int], int], Sequence[int] | int]]] = [
        # key, area, what tasks say | ..., what documentation says | ..., the function
        (
            "reverse",
            arranging,
            "put the items in reverse order|turn the list around|write the list from back to front",
            "the list in reverse order, last item first|the items from back to front",
            lambda x, n: x[::-1],
        ),
        (
            "sort",
            arranging,
            "sort the items, smallest first|put the items in rising order|order the list from low to high",
            "the items in rising order, smallest first|the list sorted from low to high",
            lambda x, n: sorted(x),
        ),
        (
            "sort_down",
            arranging,
            "sort the items, largest first|put the items in falling order|order the list from high to low",
            "the items in falling order, largest first|the list sorted from high to low",
            lambda x, n: sorted(x, reverse=True),
        ),
        (
            "rotate_left",
            arranging,
            "rotate the list left by {n}|move the first {n} items to the end",
            "the list rotated left by n|the list, its first n items moved to the end",
            _rotated,
        ),
        (
            "rotate_right",
            arranging,
            "rotate the list right by {n}|move the last {n} items to the front",
            "the list rotated right by n|the list, its last n items moved to the front",
            lambda x, n: _rotated(x, -n),
        ),
        (
            "repeat_list",
            arranging,
            "repeat the whole list {n} times|write the list {n} times in a row",
            "the whole list, n times in a row|the list repeated n times, one after the other",
            lambda x, n: list(x) * n,
        ),
        (
            "repeat_items",
            arranging,
            "repeat each item {n} times|write every item {n} times before the next",
            "each item n times before the next|the list with every item repeated n times",
            lambda x, n: [item for item in x for _ in range(n)],
        ),
        (
            "mirror",
            arranging,
            "add a mirror image of the list|write the list and then the same backwards",
            "the list and then its mirror image|the list, followed by the same backwards",
            lambda x, n: [*x, *x[::-1]],
        ),
        (
            "evens",
            choosing,
            "keep the even items|drop the items that are odd",
            "the items that are even|what is even in the list, without the odd",
            lambda x, n: [item for item in x if item % 2 == 0],
        ),
        (
            "odds",
            choosing,
            "keep the odd items|drop the items that are even",
            "the items that are odd|what is odd in the list, without the even",
            lambda x, n: [item for item in x if item % 2],
        ),
        (
            "above",
            choosing,
            "keep the items above {n}|drop the items that are not larger than {n}",
            "the items that are larger than n|the items above n",
            lambda x, n: [item for item in x if item > n],
        ),
        (
            "below",
            choosing,
            "keep the items below {n}|drop the items that are not smaller than {n}",
            "the items that are smaller than n|the items below n",
            lambda x, n: [item for item in x if item < n],
        ),
        (
            "first_n",
            choosing,
            "keep the first {n} items|cut the list after {n} items",
            "the first n items|the list, cut after n items",
            lambda x, n: x[:n],
        ),
        (
            "without_first",
            choosing,
            "leave out the first {n} items|skip {n} items at the front",
            "the list without its first n items|what is left when n items at the front are skipped",
            lambda x, n: x[n:],
        ),
        (
            "unique",
            choosing,
            "keep each item once|drop the repeated items",
            "each item once, where it came first|the list without repeated items",
            lambda x, n: list(dict.fromkeys(x)),
        ),
        (
            "every_second",
            choosing,
            "keep every second item, the first one too|skip every other item",
            "every second item, the first one too|the list with every other item skipped",
            lambda x, n: x[::2],
        ),
        (
            "double",
            changing,
            "double each item|make all items twice as large",
            "each item doubled|all items, twice as large",
            lambda x, n: [2 * item for item in x],
        ),
        (
            "square",
            changing,
            "square each item|multiply each item by itself",
            "the square of each item|each item multiplied by itself",
            lambda x, n: [item * item for item in x],
        ),
        (
            "negate",
            changing,
            "change the sign of each item|negate all items",
            "each item with its sign changed|all items, negated",
            lambda x, n: [-item for item in x],
        ),
        (
            "absolute",
            changing,
            "make each item positive|drop the sign of all items",
            "each item without its sign|all items, made positive",
            lambda x, n: [abs(item) for item in x],
        ),
        (
            "add",
            changing,
            "add {n} to each item|raise all items by {n}",
            "n added to each item|all items, raised by n",
            lambda x, n: [item + n for item in x],
        ),
        (
            "subtract",
            changing,
            "take {n} away from each item|lower all items by {n}",
            "each item with n taken away|all items, lowered by n",
            lambda x, n: [item - n for item in x],
        ),
        (
            "running",
            changing,
            "give the running sums|replace each item by the sum up to it",
            "the running sums of the list|for each item, the sum up to it",
            lambda x, n: list(accumulate(x)),
        ),
        (
            "differences",
            changing,
            "give the differences between neighbours|replace the list by its steps from item to item",
            "the differences between neighbours|the steps from item to item",
            lambda x, n: [later - earlier for earlier, later in pairwise(x)],
        ),
        (
            "sum",
            summing_up,
            "give the sum|add all items up|say the total",
            "the sum of the items|the total of the list",
            lambda x, n: sum(x),
        ),
        (
            "product",
            summing_up,
            "give the product|multiply all items together",
            "the product of the items|all items multiplied together",
            lambda x, n: prod(x),
        ),
        (
            "largest",
            summing_up,
            "give the largest item|find the maximum",
            "the largest item|the maximum of the list",
            lambda x, n: max(_some(x)),
        ),
        (
            "smallest",
            summing_up,
            "give the smallest item|find the minimum",
            "the smallest item|the minimum of the list",
            lambda x, n: min(_some(x)),
        ),
        (
            "length",
            summing_up,
            "count the items|give the length of the list",
            "how many items there are|the length of the list",
            lambda x, n: len(x),
        ),
        (
            "spread",
            summing_up,
            "give the distance from the lowest to the highest|say how far apart the extremes are",
            "the distance from the lowest to the highest|how far apart the extremes are",
            lambda x, n: max(_some(x)) - min(x),
        ),
        (
            "at",
            summing_up,
            "give item number {n}|say what stands in place {n}",
            "item number n, counted from one|what stands in place n, the first place being one",
            lambda x, n: _nth(x, n),
        ),
        (
            "count_above",
            summing_up,
            "count the items above {n}|say how many items exceed {n}",
            "how many items exceed n|the number of items above n",
            lambda x, n: sum(item > n for item in x),
        ),
    ]
    return tuple(
        Operation(key, area, tuple(asks.split("|")), tuple(says.split("|")), run) for key, area, asks, says, run in rows
    )


def _nth(items: Sequence[int], place: int) -> int:
    if not 1 <= place <= len(items):
        raise ValueError(f"there is no item number {place}")
    return items[place - 1]


OPERATIONS: dict[str, Operation] = {one.key: one for one in _operations()}
BY_AREA = {area: tuple(one for one in OPERATIONS.values() if one.area == area) for area in AREAS}
