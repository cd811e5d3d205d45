"""The typed configuration of a run: one YAML file says everything, and an unknown key is an error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imprint.context.config import ContextConfig, SkicConfig
from imprint.errors import RecipeError
from imprint.learning.config import LearnerConfig, Transfer
from imprint.learning.rewards import RewardConfig
from imprint.methods.in_context.scorers import GateConfig
from imprint.methods.weights.curriculum import CurriculumConfig
from imprint.models.served.config import EndpointConfig
from imprint.security.vetting import TrustConfig
from imprint.support.yaml import read_yaml_mapping as read_yaml_mapping

Model = TypeVar("Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EnvConfig(BaseModel):
    """Which world; further keys are that world's own options and are checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = Field(default="household", description="A world registered under `imprint.envs`.")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class RolloutConfig(_Section):
    """How experience is gathered."""

    tasks: int = Field(default=16, ge=1, description="Tasks per step.")
    balance: bool = Field(
        default=False, description="Tasks of every category in turn; false: as often as they are in the split."
    )
    group: int = Field(default=8, ge=2, description="Episodes per task (GRPO's group).")
    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Longest response, in tokens; null: 24 for a plain line, 512 for a chat answer with its thoughts.",
    )
    batch: int = Field(default=256, ge=1, description="Episodes in flight at once (memory).")


class AdvantageConfig(_Section):
    """How scores become advantages."""

    unit: Literal["episode", "turn"] = Field(
        default="episode", description="`turn` weighs long episodes more, as the reference code does."
    )
    scale: Literal["std", "none"] = Field(default="std", description="Divide by the group's deviation (GRPO) or not.")
    std_floor: float | None = Field(
        default=None,
        ge=0,
        description="Least deviation divided by; null: a tenth of a success where compressing has a bonus, else 0.",
    )


class EvaluationConfig(_Section):
    """Paired validation while training, and the test at the end."""

    interval: int = Field(default=10, ge=1, description="Steps between validations.")
    tasks: int = Field(default=60, ge=1, description="Validation tasks, each played in both arms.")
    test_tasks: int = Field(default=240, ge=0, description="Test tasks at the end; 0 skips the test.")
    temperature: float = Field(default=0.4, ge=0)
    keep_episodes: int = Field(default=24, ge=0, description="Validation episodes recorded per arm and step.")


class Recipe(_Section):
    """Everything a run depends on. The same recipe gives the same run on the same machine."""

    name: str = Field(description="What tables call it.")
    method: str = Field(description="A method registered under `imprint.methods`.")
    model: str = Field(
        default="imprint-tiny",
        description="`imprint-tiny`, a local folder, or a hub name; with an endpoint, the served model's name.",
    )
    endpoint: EndpointConfig | None = Field(default=None, description="A server that has the model; null: we do.")
    skills: str = Field(
        default="household",
        description="A folder of SKILL.md folders, or a library registered under `imprint.skills`, as `household` is.",
    )
    lenient: bool = Field(default=False, description="Read the skills as real clients do, not by the specification.")
    trust: TrustConfig = TrustConfig()
    seed: int = 0
    steps: int = Field(default=60, ge=0, description="Training steps; 0 only evaluates.")
    env_steps: int | None = Field(
        default=None,
        ge=1,
        description="End training after this many environment steps, and measure `steps` and every interval in shares "
        "of them: what makes methods comparable whose episodes differ in length.",
    )
    env: EnvConfig = EnvConfig()
    context: ContextConfig = ContextConfig()
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    learner: LearnerConfig = LearnerConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    transfer: Transfer = Transfer()
    skic: SkicConfig | None = Field(default=None, description="Of the method `skic`; null: its defaults.")
    gate: GateConfig | None = Field(default=None, description="Of the method `adaptmi`; null: its defaults.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, ...")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads; null leaves PyTorch's own choice."
    )
    checkpoint_interval: int = Field(default=10, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="How many of the newest are kept.")
    loggers: list[Literal["wandb", "trackio"]] = Field(default=[], description="Beside JSONL and TensorBoard.")

    @property
    def std_floor(self) -> float:
        """The least deviation that a group's scores are divided by.

        The guard against a compression bonus that becomes the whole advantage. Where both outcomes occur the deviation
        of a group of G episodes is at least 1/sqrt(G) of a success, so that a floor of a tenth changes nothing there
        (below a hundred episodes); where all succeed, it leaves the bonus as small as it is beside a success.
        """
        if self.advantage.std_floor is not None:
            return self.advantage.std_floor
        return 0.1 * (self.reward.success or 1.0) if self.reward.compression_bonus else 0.0

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, with `key.subkey=value` overrides (values are YAML).

    Raises:
        RecipeError: unreadable, not a mapping, an unknown key or a wrong value (each named, with the nearest key).
    """
    path = Path(path)
    values = read_yaml_mapping(path)
    for change in overrides:
        override(values, change)
    return parse_recipe(values, path)


def parse_recipe(values: Mapping[str, Any], where: str | Path | None = None) -> Recipe:
    """Validate a mapping as a recipe.

    Raises:
        RecipeError: an unknown key or a wrong value.
    """
    return validated(Recipe, values, where)


def validated(kind: type[Model], values: Mapping[str, Any], where: str | Path | None) -> Model:
    """`kind` from `values`, with pydantic's first complaint told in our way.

    Raises:
        RecipeError: names the key, what is wrong with it, and the nearest known key.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError("unknown key", where=where, key=key, hint=_nearest(kind, first["loc"])) from None
        if first["type"] == "missing":
            raise RecipeError("is missing", where=where, key=key, hint=f"add `{key}: ...`") from None
        raise RecipeError(f"{first['msg']}{_given(first)}", where=where, key=key, hint="correct the value") from None


def _given(problem: Any) -> str:
    """The wrong value, unless it may be a secret in the wrong place."""
    return "" if problem["loc"][0] == "endpoint" else f" (given: {problem.get('input')!r})"


def _nearest(kind: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """A hint for an unknown key: the nearest key of the same section, or all of them."""
    section: Any = kind
    for part in location[:-1]:
        field = getattr(section, "model_fields", {}).get(str(part))
        section = None if field is None else section_of(field.annotation)
    keys = list(getattr(section, "model_fields", {}))
    near = difflib.get_close_matches(str(location[-1]), keys, n=1)
    return f"did you mean {near[0]!r}?" if near else f"the keys here are: {', '.join(keys)}"


def override(values: dict[str, Any], change: str) -> None:
    """Apply one `key.subkey=value` (the value is YAML) to the values of a recipe, in place.

    Raises:
        RecipeError: it is not so written, its value is no YAML, or it goes through what is no section.
    """
    key, equals, text = change.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"cannot read {change!r}", key="--set", hint="write it as key.subkey=value")
    *sections, last = key.split(".")
    place = values
    for section in sections:
        inner = place[section] = {} if place.get(section) is None else place[section]
        if not isinstance(inner, dict):
            raise RecipeError(f"{section!r} is not a section", key=key, hint="`imprint train --keys` lists the keys")
        place = inner
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{text!r} is not a YAML value", key=key, hint="put it in quotes") from error


def recipe_keys(kind: type[BaseModel] = Recipe, prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key of a recipe as (name, default, what it means), sections flattened with dots."""
    rows = []
    for name, field in kind.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            rows += recipe_keys(inner, f"{prefix}{name}.")
        else:
            default = "(required)" if field.is_required() else yaml.safe_dump(field.default, default_flow_style=True)
            rows.append((prefix + name, default.split("\n")[0], field.description or ""))
    return rows


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds (`Section` or `Section | None`), if it holds one."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
