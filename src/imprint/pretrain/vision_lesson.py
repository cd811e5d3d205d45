"""The lesson of a new vision encoder: a picture token is the sum of the embeddings of the words that begin in it.

A language model of text can learn to read such sums before there is a vision encoder: the sums are known, and no pixel
is used (`oracle_vision`). The encoder then learns to give them (`train_vision_encoder`), every picture token being a
target, where an episode has a handful. An auxiliary head that classifies the character in each cell, thrown away
afterwards, guides the encoder to the characters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from imprint.context.config import SMALLEST
from imprint.context.image import Renderer
from imprint.errors import RecipeError
from imprint.models.local.policy import Policy
from imprint.pretrain.texts import some_text
from imprint.support.progress import Progress
from imprint.types import Picture

BLANK, OTHER = 0, 1  # in the alphabet
ALPHABET = 2 + 0x7F - 0x21  # and the printable characters of ASCII


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a picture token.

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
class LabelledPicture:
    """A picture with the labels of its tokens.

    Attributes:
        characters: [tokens, cells] of the alphabet.
        words: (picture token, text token that begins there).
    """

    picture: Picture
    characters: npt.NDArray[np.int64]
    words: tuple[tuple[int, int], ...]


def letter(character: str) -> int:
    """The number of a character in the alphabet."""
    if character == " ":
        return BLANK
    return ord(character) - 0x21 + 2 if "!" <= character <= "~" else OTHER


def labelled_picture(policy: Policy, renderer: Renderer, text: str) -> LabelledPicture:
    """A picture of `text`, and what stands where in it; padding is left out."""
    grid = Grid.of(renderer)
    drawn = [[row.text for row in renderer.layout(line)] for line in text.split("\n")]
    height = sum(map(len, drawn))
    tokens = -(-height // grid.rows) * grid.across
    cells = np.full((tokens, grid.rows * grid.columns), BLANK, dtype=np.int64)
    places: list[int] = []  # the token in which each character of the text lies; -1 where it is unknown
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
    return LabelledPicture(Picture(text, 1.0, renderer.pixels), cells, tuple(_words(policy, text, places)))


def _words(policy: Policy, text: str, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    spelled = policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    for word, (start, stop) in zip(spelled["input_ids"], spelled["offset_mapping"], strict=True):
        first = next((place for place in range(start, stop) if not text[place].isspace()), None)
        if first is not None and places[first] >= 0:
            yield places[first], word


class VisionTrainer:
    """Trains the vision tower of `policy` to read what `renderer` draws.

    Args:
        texts: of the world's language, to be drawn.
        tokens: picture tokens per step.
        balanced: every other picture holds words drawn uniformly from the vocabulary of the texts.
    """

    def __init__(
        self,
        policy: Policy,
        renderer: Renderer,
        texts: Sequence[str],
        *,
        steps: int,
        tokens: int = 1000,
        lr: float = 3e-3,
        muon_lr: float = 0.02,
        seed: int = 0,
        balanced: bool = False,
    ) -> None:
        self.words = sorted({word for text in texts for word in text.split()}) if balanced else []
        self.policy, self.renderer, self.texts, self.tokens = policy, renderer, texts, tokens
        self.rng = random.Random(f"eyes/{seed}")
        grid = Grid.of(renderer)
        torch.manual_seed(seed)
        tower = policy.model.model.visual
        # The head reads the input of the last layer: the sums that this layer gives do not hold the spelling.
        mixing, out = tower.merger.mlp[1], tower.merger.mlp[2]
        self._hidden: list[Tensor] = []
        self._hook = mixing.register_forward_hook(lambda _module, _inputs, output: self._hidden.append(output))
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
        """Remove the hook from the tower."""
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

    def draw(self) -> list[LabelledPicture]:
        """Pictures of a few texts each, with `tokens` tokens or a little more."""
        pictures: list[LabelledPicture] = []
        while sum(len(one.characters) for one in pictures) < self.tokens:
            text = some_text(self.texts, self.rng)
            if self.words and len(pictures) % 2:
                text = " ".join(self.rng.choices(self.words, k=len(text.split())))
            pictures.append(labelled_picture(self.policy, self.renderer, text))
        return pictures

    def losses(self, pictures: Sequence[LabelledPicture]) -> tuple[Tensor, dict[str, float]]:
        """The loss on pictures, with the share of characters (without blanks) that the head classifies correctly, and
        the squared error of the sums relative to their squares."""
        policy = self.policy
        assert policy.vision is not None
        pixels, grid = policy.vision.patches([one.picture for one in pictures])
        tokens = policy.model.model.visual(pixels.to(policy.device), grid_thw=grid.to(policy.device)).pooler_output
        characters = torch.from_numpy(np.concatenate([one.characters for one in pictures])).to(policy.device)
        logits = self.head(self._hidden.pop()).view(*characters.shape, ALPHABET)
        spelling = cross_entropy(logits.flatten(0, 1), characters.flatten())
        sums = embedding_sums(policy.model.get_input_embeddings().weight.detach(), _table(pictures).to(policy.device))
        error = (tokens - sums).square().sum() / sums.square().sum()
        inked = characters != BLANK
        correct = (logits.detach().argmax(-1) == characters)[inked].float().mean()
        return spelling + 3 * error, {"vision/characters": float(correct), "vision/error": float(error.detach())}


def embedding_sums(embeddings: Tensor, table: Tensor) -> Tensor:
    """The sum of the words of each token: embeddings [V, width] and a table [tokens, most] of words, -1 for none."""
    return (embeddings[table.clamp(min=0)] * (table >= 0)[..., None]).sum(dim=1)


def _table(pictures: Sequence[LabelledPicture]) -> Tensor:
    """The words of every token of the pictures, as a table padded with -1."""
    rows: list[list[int]] = []
    for one in pictures:
        own: list[list[int]] = [[] for _ in one.characters]
        for place, word in one.words:
            own[place].append(word)
        rows += own
    most = max(1, *map(len, rows))
    return torch.tensor([row + [-1] * (most - len(row)) for row in rows])


class OracleEncoder(nn.Module):
    """Takes the place of the vision tower; its input is words instead of patches, its output their embeddings' sums."""

    spatial_merge_size = 2
    dtype = torch.float32

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        self._words = (words,)  # in a tuple: the embedding is the model's, not a submodule of this one

    def forward(self, table: Tensor, grid_thw: Tensor, **_: object) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(pooler_output=embedding_sums(self._words[0].weight, table.long()))


@contextmanager
def oracle_vision(policy: Policy, renderer: Renderer) -> Iterator[None]:
    """Within the context, picture tokens are oracle embeddings: the sums of the words that begin in them."""
    body, vision = policy.model.model, policy.vision
    assert vision is not None
    labelled = lru_cache(maxsize=4096)(lambda text: labelled_picture(policy, renderer, text))
    across = Grid.of(renderer).across

    def patches(pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        labels = [labelled(picture.text) for picture in pictures]
        grid = [[1, 2 * (len(one.characters) // across), 2 * across] for one in labels]
        return _table(labels).float(), torch.tensor(grid)

    tower, cache = body.visual, vision.cache
    vision.cache, vision.frozen_cache = None, False  # the embeddings of words may be trained
    body.visual = OracleEncoder(policy.model.get_input_embeddings())
    vision.patches = patches  # type: ignore[method-assign]
    try:
        yield
    finally:
        body.visual, vision.cache, vision.frozen_cache = tower, cache, True
        del vision.patches  # uncovers the method of the class


def train_vision_encoder(
    policy: Policy,
    renderer: Renderer,
    texts: Sequence[str],
    *,
    steps: int,
    tokens: int,
    seed: int,
    balanced: bool,
    progress: Progress,
) -> dict[str, float]:
    """`steps` steps of `VisionTrainer`; the metrics of the last."""
    progress.begin(steps)
    numbers: dict[str, float] = {}
    trainer = VisionTrainer(policy, renderer, texts, steps=steps, tokens=tokens, seed=seed, balanced=balanced)
    for _ in range(steps):
        numbers = trainer.step()
        progress.advance(
            f"vision encoder: {numbers['vision/characters']:.0%} of the characters, error {numbers['vision/error']:.0%}"
        )
    trainer.close()
    return numbers
