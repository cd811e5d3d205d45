"""The lesson of a policy's new eyes: a token of a picture is the sum of the words that begin in it.

A language model of text can learn to read such sums before there are eyes to give them: the sums are known, and no
pixel is looked at (`blindfolded`). The eyes then learn to give them (`teach_eyes`), every token of a picture being
something to learn, where an episode has a handful of things. A throw-away head that says the character in each cell
shows the eyes what to look at.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from imprint.context.config import SMALLEST
from imprint.context.image import Renderer
from imprint.context.prompt import CUE
from imprint.envs.base import DreamWorld
from imprint.errors import RecipeError
from imprint.models.local.policy import Policy
from imprint.support.progress import Progress
from imprint.types import Picture

if TYPE_CHECKING:
    from imprint.pretrain.train import PretrainRecipe

BLANK, OTHER = 0, 1  # in the alphabet
ALPHABET = 2 + 0x7F - 0x21  # and the printable characters of ASCII


@dataclass(frozen=True, slots=True)
class Grid:
    """How many cells a picture's token holds.

    Attributes:
        rows, columns: of cells in a token.
        across: tokens in the width of a picture.
    """

    rows: int
    columns: int
    across: int

    @classmethod
    def of(cls, renderer: Renderer) -> Grid:
        """The grid of a layout.

        Raises:
            RecipeError: a cell would lie in two tokens.
        """
        config, tall, wide = renderer.config, renderer.row_height, renderer.cell_width
        if SMALLEST % tall or SMALLEST % wide or config.width % SMALLEST or config.padding % SMALLEST:
            raise RecipeError(
                f"cells of {wide} x {tall} pixels do not fill tokens of {SMALLEST} x {SMALLEST} evenly",
                key="context.image",
                hint="e.g. width: 112, font_size: 6, line_spacing: 2.33, padding: 0",
            )
        return cls(SMALLEST // tall, SMALLEST // wide, config.width // SMALLEST)

    def place(self, row: int, column: int) -> int:
        """The token in which a cell lies, in reading order."""
        return row // self.rows * self.across + column // self.columns


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A picture and what is to be read in it.

    Attributes:
        characters: [tokens, cells] of the alphabet.
        words: (token of the picture, token of the text that begins there).
    """

    picture: Picture
    characters: npt.NDArray[np.int64]
    words: tuple[tuple[int, int], ...]


def letter(character: str) -> int:
    """The number of a character in the alphabet."""
    if character == " ":
        return BLANK
    return ord(character) - 0x21 + 2 if "!" <= character <= "~" else OTHER


def glimpse(policy: Policy, renderer: Renderer, text: str) -> Glimpse:
    """What stands where in a picture of `text`, without padding."""
    grid = Grid.of(renderer)
    drawn = [[row.text for row in renderer.layout(line)] for line in text.split("\n")]
    height = sum(map(len, drawn))
    tokens = -(-height // grid.rows) * grid.across
    cells = np.full((tokens, grid.rows * grid.columns), BLANK, dtype=np.int64)
    places: list[int] = []  # the token in which each character of the text lies; -1 for what cannot be said
    top = 0
    for line, rows in zip(text.split("\n"), drawn, strict=True):
        mine = []
        for down, row in enumerate(rows, start=top):
            for column, character in enumerate(row):
                place = grid.place(down, column)
                cells[place, down % grid.rows * grid.columns + column % grid.columns] = letter(character)
                mine.append(place)
        places += [*(mine if len(mine) == len(line) else [-1] * len(line)), -1]
        top += len(rows)
    return Glimpse(Picture(text, 1.0, renderer.pixels), cells, tuple(_words(policy, text, places)))


def _words(policy: Policy, text: str, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    spelled = policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    for word, (start, stop) in zip(spelled["input_ids"], spelled["offset_mapping"], strict=True):
        first = next((place for place in range(start, stop) if not text[place].isspace()), None)
        if first is not None and places[first] >= 0:
            yield places[first], word


class EyeTeacher:
    """Teaches the vision tower of `policy` to read what `renderer` draws.

    Args:
        texts: of the world's language, to be drawn.
        size: tokens of pictures in a step.
        evenly: every other picture holds words drawn evenly from all of theirs, the rare as often as the frequent.
    """

    def __init__(
        self,
        policy: Policy,
        renderer: Renderer,
        texts: Sequence[str],
        *,
        steps: int,
        size: int = 1000,
        lr: float = 3e-3,
        muon_lr: float = 0.02,
        seed: int = 0,
        evenly: bool = False,
    ) -> None:
        self.words = sorted({word for text in texts for word in text.split()}) if evenly else []
        self.policy, self.renderer, self.texts, self.size = policy, renderer, texts, size
        self.dice = random.Random(f"eyes/{seed}")
        grid = Grid.of(renderer)
        torch.manual_seed(seed)
        tower = policy.model.model.visual
        # Of what the last layer makes its sums; a sum has no room for spelling.
        mixing, out = tower.merger.mlp[1], tower.merger.mlp[2]
        self._glimpsed: list[Tensor] = []
        self._hook = mixing.register_forward_hook(lambda _module, _given, found: self._glimpsed.append(found))
        self.head = nn.Linear(out.in_features, grid.rows * grid.columns * ALPHABET).to(policy.device)
        matrices = [weight for weight in tower.parameters() if weight.dim() == 2]
        rest = [weight for weight in tower.parameters() if weight.dim() != 2]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01),
            torch.optim.AdamW([*rest, *self.head.parameters()], lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(one, lambda step: min(1.0, (step + 1) / 20) * (1 - 0.9 * step / steps))
            for one in self.optimizers
        ]

    def close(self) -> None:
        """Leave the tower as it was but for its weights."""
        self._hook.remove()

    def step(self) -> dict[str, float]:
        """One step on new pictures."""
        loss, numbers = self.losses(self.draw())
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        return numbers

    def draw(self) -> list[Glimpse]:
        """Pictures of a few texts each, with `size` tokens or a little more."""
        glimpses: list[Glimpse] = []
        while sum(len(one.characters) for one in glimpses) < self.size:
            text = some_text(self.texts, self.dice)
            if self.words and len(glimpses) % 2:
                text = " ".join(self.dice.choices(self.words, k=len(text.split())))
            glimpses.append(glimpse(self.policy, self.renderer, text))
        return glimpses

    def losses(self, glimpses: Sequence[Glimpse]) -> tuple[Tensor, dict[str, float]]:
        """The loss on pictures, with the share of the characters (blanks not counted) that were read, and the share of
        the sums (of their squares) that is missed."""
        policy = self.policy
        assert policy.vision is not None
        pixels, grid = policy.vision.patches([one.picture for one in glimpses])
        seen = policy.model.model.visual(pixels.to(policy.device), grid_thw=grid.to(policy.device)).pooler_output
        characters = torch.from_numpy(np.concatenate([one.characters for one in glimpses])).to(policy.device)
        said = self.head(self._glimpsed.pop()).view(*characters.shape, ALPHABET)
        spelling = cross_entropy(said.flatten(0, 1), characters.flatten())
        sums = word_sums(policy.model.get_input_embeddings().weight.detach(), _table(glimpses).to(policy.device))
        missed = (seen - sums).square().sum() / sums.square().sum()
        inked = characters != BLANK
        read = (said.detach().argmax(-1) == characters)[inked].float().mean()
        return spelling + 3 * missed, {"characters": float(read), "missed": float(missed.detach())}


def word_sums(words: Tensor, table: Tensor) -> Tensor:
    """The sum of the words of each token: embeddings [V, width] and a table [tokens, most] of words, -1 for none."""
    return (words[table.clamp(min=0)] * (table >= 0)[..., None]).sum(dim=1)


def _table(glimpses: Sequence[Glimpse]) -> Tensor:
    """The words of every token of the pictures, as a table filled up with -1."""
    rows: list[list[int]] = []
    for one in glimpses:
        mine: list[list[int]] = [[] for _ in one.characters]
        for place, word in one.words:
            mine[place].append(word)
        rows += mine
    most = max(1, *map(len, rows))
    return torch.tensor([row + [-1] * (most - len(row)) for row in rows])


class _Sums(nn.Module):
    """Stands in the vision tower's place, and is given words for patches."""

    spatial_merge_size = 2
    dtype = torch.float32

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        self._words = (words,)  # not a part of this module: it is the model's own

    def forward(self, table: Tensor, grid_thw: Tensor, **_: object) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(pooler_output=word_sums(self._words[0].weight, table.long()))


@contextmanager
def blindfolded(policy: Policy, renderer: Renderer) -> Iterator[None]:
    """For a while, the tokens of a picture are the sums of the words that begin in them."""
    body, vision = policy.model.model, policy.vision
    assert vision is not None
    tower, glimpses = body.visual, lru_cache(maxsize=4096)(lambda text: glimpse(policy, renderer, text))
    across = Grid.of(renderer).across

    def patches(pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        seen = [glimpses(picture.text) for picture in pictures]
        grid = [[1, 2 * (len(one.characters) // across), 2 * across] for one in seen]
        return _table(seen).float(), torch.tensor(grid)

    cache, vision.cache, vision.frozen_cache = vision.cache, None, False  # what words mean may change
    body.visual = _Sums(policy.model.get_input_embeddings())
    vision.patches = patches  # type: ignore[method-assign]
    try:
        yield
    finally:
        body.visual, vision.cache, vision.frozen_cache = tower, cache, True
        del vision.patches  # the class's own is there again


def teach_eyes(
    recipe: PretrainRecipe, texts: Sequence[str], renderer: Renderer, policy: Policy, progress: Progress
) -> dict[str, float]:
    """`recipe.see` steps of the eyes' lesson; the figures of the last."""
    progress.begin(recipe.see)
    numbers: dict[str, float] = {}
    teacher = EyeTeacher(
        policy,
        renderer,
        texts,
        steps=recipe.see,
        size=recipe.see_tokens,
        seed=recipe.seed,
        evenly=recipe.see_evenly,
    )
    for _ in range(recipe.see):
        numbers = teacher.step()
        progress.advance(
            f"to see: {numbers['characters']:.0%} of the characters, {numbers['missed']:.0%} of words missed"
        )
    teacher.close()
    return numbers


def some_text(texts: Sequence[str], dice: random.Random, longest: int = 600) -> str:
    """Some of the texts one after the other, from a word in the midst of the first on."""
    words = dice.choice(texts).split(" ")
    parts = [" ".join(words[dice.randrange(len(words)) :])]
    wanted = dice.randint(60, longest)
    while sum(map(len, parts)) < wanted:
        parts.append(dice.choice(texts))
    return "\n".join(parts)[:longest]


def language_of(world: DreamWorld, count: int = 6000, *, cued: bool = False) -> list[str]:
    """The first texts of a world's language that are worth drawing.

    Args:
        cued: with the cue before each command, as a transcript has it.
    """
    texts = [
        (CUE + text if cued and text.startswith(" ") else text).removesuffix(CUE)
        for text in islice(world.language(), count)
    ]
    return [text.strip("\n" if cued else "\n >") for text in texts if len(text.strip("\n >")) > 3]
