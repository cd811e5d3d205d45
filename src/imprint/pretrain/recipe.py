"""The recipe of a base policy: everything that its weights depend on. Importing it loads no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imprint.context.config import ContextConfig
from imprint.errors import RecipeError
from imprint.learning.config import LearnerConfig
from imprint.recipe import EnvConfig, Located, ModelName, validated, with_paths
from imprint.skills.config import SKILLS
from imprint.support.packaged import recipe_file
from imprint.support.yaml import read_yaml_mapping

# Keys of older recipes, which still load.
RENAMED = {
    "blindfold": "vision_oracle_steps",
    "see": "vision_steps",
    "see_tokens": "vision_tokens",
    "see_evenly": "vision_uniform_words",
    "aloud": "transcription_pictures",
    "recite": "copy_steps",
    "recite_tokens": "copy_tokens",
}
RENAMED_LESSONS = {"by_heart": "closed_book"}


class ModelConfig(BaseModel):
    """The architecture: a Llama from scratch."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int = Field(default=128, ge=16, description="Hidden size.")
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    vocab_size: int = Field(default=1536, ge=300)
    max_context: int = Field(default=2048, ge=128, description="Longest sequence, in tokens.")


class VisionConfig(BaseModel):
    """The vision tower."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int = Field(default=128, ge=16, description="Hidden size; the feed-forward is twice as wide.")
    layers: int = Field(default=2, ge=1, description="Every one attends to the whole picture.")
    heads: int = Field(default=4, ge=1)
    max_tokens: int = Field(default=600, ge=1, description="A larger picture is scaled down to these.")


class PretrainRecipe(Located):
    """Everything the base policy depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    seed: int = 0
    steps: int = Field(default=2000, ge=1)
    schedule_steps: int | None = Field(
        default=None,
        ge=1,
        description="Steps over which the learning rate decays, of which the last may never be made; null: `steps`.",
    )
    demos: int = Field(default=24, ge=1, description="Demonstrations per step.")
    lessons: dict[str, int] = Field(
        default={"full": 0},
        description="The first step of each of the world's lessons. Half of a step's demonstrations come from the "
        "newest lesson, the rest from all that have begun, against forgetting.",
    )
    env: EnvConfig = EnvConfig()
    skills: Annotated[str | None, SKILLS] = Field(
        default=None,
        description="The library for the evaluation on real tasks; null: the installed one with the world's name.",
    )
    model: ModelConfig = ModelConfig()
    vision: VisionConfig | None = Field(
        default=None, description="A vision encoder for a text policy, which then reads what `context` draws."
    )
    context: ContextConfig = Field(
        default=ContextConfig(style="plain"), description="How skills and turns are shown, as in a run's recipe."
    )
    init: ModelName | None = Field(
        default=None,
        description="A policy to continue from (`imprint-tiny`, a folder), not random weights; `model` is then ignored",
    )
    learner: LearnerConfig = LearnerConfig(lr=2e-3, warmup_steps=50, decay="linear")
    vision_oracle_steps: int = Field(
        default=0,
        ge=0,
        description="First steps, with oracle picture embeddings: a picture token is the sum of the embeddings of its "
        "words, and the vision encoder is not used.",
    )
    vision_steps: int = Field(
        default=0, ge=0, description="Steps after these, in which the vision encoder alone learns to give such sums."
    )
    vision_tokens: int = Field(default=1000, ge=100, description="Picture tokens per such step.")
    vision_uniform_words: bool = Field(
        default=False,
        description="Every other of these pictures holds words drawn uniformly from the world's vocabulary, so that "
        "rare words are learned as well as frequent ones.",
    )
    drawn_history: int | None = Field(
        default=None,
        ge=0,
        description="From this step on, every other pair of demonstrations has its history drawn as well; null: none.",
    )
    transcription_pictures: int = Field(
        default=0, ge=0, description="Pictures per step of which parts are to be transcribed."
    )
    own_play: int | None = Field(
        default=None,
        ge=0,
        description="From this step on, half of a step's demonstrations are begun by the policy itself and finished by "
        "the teacher, so that it learns ways back from its own mistakes; null: none.",
    )
    copy_steps: int = Field(
        default=0, ge=0, description="First steps, in which sequences of random words are to be copied."
    )
    copy_tokens: int = Field(default=4000, ge=100, description="Tokens per such step.")
    ema: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Decay of an exponential moving average of the weights, per step; the average is what is evaluated "
        "and saved. Null: the weights themselves.",
    )
    observation_weight: float = Field(
        default=0.1, ge=0, description="Loss weight of the tokens of observations, beside 1 for those of commands."
    )
    show_interval: int = Field(default=250, ge=1, description="Steps between two evaluations on the real tasks.")
    show_tasks: int = Field(default=60, ge=1)
    max_new_tokens: int = Field(
        default=24, ge=1, description="Tokens of an action, at most, where the policy plays (evaluations, `own_play`)."
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Which policy is saved: the one with the most success with skills in an evaluation (of equal ones "
        "the latest), or the one of the last step.",
    )
    threads: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, values: Any) -> Any:
        return with_current_keys(values)[0] if isinstance(values, Mapping) else values


def with_current_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A recipe's values under today's keys, and a note for each old key that was found.

    Raises:
        RecipeError: a value is given under its old key and under its new one.
    """
    current, notes = dict(values), []
    for old, new in RENAMED.items():
        if old not in current:
            continue
        if new in current:
            raise RecipeError(f"is the old name of {new!r}, which is given too", key=old, hint=f"remove {old!r}")
        current[new] = current.pop(old)
        notes.append(_note(old))
    return current, notes


def load_recipe(path: Path, changes: Sequence[str] = ()) -> tuple[PretrainRecipe, list[str]]:
    """Read a recipe file, or a packaged recipe, with `key.subkey=value` changes; and a note for each old key.

    Raises:
        RecipeError: unreadable, not a mapping, an unknown key or a wrong value.
    """
    path = recipe_file(path)
    values, notes = with_current_keys(read_yaml_mapping(path))
    current = []
    for change in changes:
        key, _, value = change.partition("=")
        if key in RENAMED:
            notes.append(_note(key))
            change = f"{RENAMED[key]}={value}"
        current.append(change)
    located, places = with_paths(PretrainRecipe, values, path, current)
    recipe = validated(PretrainRecipe, located, path)
    recipe._missing = places.errors(path)
    return recipe, [*notes, *places.notes]


def _note(old: str) -> str:
    return f"the key {old!r} is now called {RENAMED[old]!r}"
