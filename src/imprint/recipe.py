"""The typed configuration of a run: one YAML file says everything, and an unknown key is an error.

Methods bring sections of their own (`methods.base.MethodSpec`). A recipe may hold sections of any installed method:
those that are not its own method's are checked, and have no effect.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from imprint.context.config import ContextConfig
from imprint.envs.base import world_kind
from imprint.errors import RecipeError
from imprint.learning.config import LearnerConfig
from imprint.learning.rewards import RewardConfig
from imprint.learning.step_advantages import DISCOUNT, STEP_WEIGHT
from imprint.models.names import TINY, may_be_hub_name
from imprint.models.served.config import EndpointConfig
from imprint.security.vetting import TrustConfig
from imprint.skills.config import SKILLS, SkillsConfig
from imprint.skills.installed import refuse_two_libraries
from imprint.support import plugins
from imprint.support.keys import MAY_CHANGE, MayBePath, Places, changeable, declared, section_of
from imprint.support.packaged import recipe_file
from imprint.support.yaml import read_yaml_mapping

Model = TypeVar("Model", bound=BaseModel)
ModelName = Annotated[str, MayBePath(names=(TINY,), plausible=may_be_hub_name, hint="give a folder or a hub name")]
METHODS = "imprint.methods"  # the group of entry points


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EnvConfig(BaseModel):
    """Which world; further keys are that world's own options and are checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = Field(
        default="household",
        description="A world registered under `imprint.envs`, or a class in a file, as `my_world.py:MyWorld`.",
    )

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class RolloutConfig(_Section):
    """How experience is gathered."""

    tasks: int = Field(default=16, ge=1, description="Tasks per step.")
    balance: bool = Field(
        default=False, description="Tasks of every category in turn; false: as often as they are in the split."
    )
    focus: float = Field(
        default=0,
        ge=0,
        le=0.99,
        description="Draw the categories that fail more often in training: each with weight 1 - focus x its success; "
        "0: do not draw them.",
    )
    group: int = Field(
        default=8, ge=1, description="Episodes per task (GRPO's group): two or more where a method compares them."
    )
    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Longest response, in tokens; null: 24 for a plain line, 512 for a chat answer with its thoughts.",
    )
    batch: int = Field(default=256, ge=1, description="Episodes in flight at once (memory).")


class AdvantageConfig(_Section):
    """How scores become advantages."""

    unit: Literal["episode", "turn", "step"] = Field(
        default="episode",
        description="`turn` weighs long episodes more, as the reference code does; `step` adds to `episode` how much "
        "better a turn did than the others of its group in the same state (GiGPO).",
    )
    scale: Literal["std", "none"] = Field(default="std", description="Divide by the group's deviation (GRPO) or not.")
    std_floor: float | None = Field(
        default=None,
        ge=0,
        description="Least deviation divided by; null: a tenth of a success where compressing has a bonus, else 0.",
    )
    step_weight: float | None = Field(
        default=None, ge=0, description="Unit `step`: weight of the step's advantage beside the episode's; null: 1."
    )
    discount: float | None = Field(
        default=None, gt=0, le=1, description="Unit `step`: of later rewards, per turn, in its returns; null: 0.95."
    )

    @model_validator(mode="after")
    def _check_steps(self) -> AdvantageConfig:
        for name in ("step_weight", "discount"):
            if self.unit != "step" and getattr(self, name) is not None:
                raise RecipeError(
                    f"has no effect with the unit {self.unit!r}",
                    key=f"advantage.{name}",
                    hint="set advantage.unit: step, or leave it out",
                )
        return self

    @property
    def weight_of_steps(self) -> float:
        """`step_weight`, or GiGPO's."""
        return STEP_WEIGHT if self.step_weight is None else self.step_weight

    @property
    def step_discount(self) -> float:
        """`discount`, or GiGPO's."""
        return DISCOUNT if self.discount is None else self.discount


class EvaluationConfig(_Section):
    """Paired validation while training, and the test at the end."""

    interval: int = Field(default=10, ge=1, description="Steps between validations.")
    tasks: int = Field(default=60, ge=1, description="Validation tasks, each played in both arms.")
    test_tasks: int = Field(default=240, ge=0, description="Test tasks at the end; 0 skips the test.")
    temperature: float = Field(default=0.4, ge=0)
    keep_episodes: Annotated[int, MAY_CHANGE] = Field(
        default=24, ge=0, description="Validation episodes kept per arm and step."
    )
    probe: int = Field(
        default=0,
        ge=0,
        description="Successes with skills before training, at most so many, whose actions' log-prob without skills is "
        "measured at each validation (`probe/...`).",
    )


class Located(BaseModel):
    """A recipe of any kind: some of its keys may hold paths."""

    _missing: Mapping[str, RecipeError] = PrivateAttr(default={})

    def refuse_missing(self, *unused: str) -> None:
        """Refuse paths that lead nowhere, except those of the keys `unused`.

        Raises:
            RecipeError: names the key, and the folders that were looked in.
        """
        for key, error in self._missing.items():
            if key.partition(".")[0] not in unused:
                raise error


class Recipe(Located):
    """Everything a run depends on. The same recipe gives the same run on the same machine.

    The sections of its method are further keys (`section`); `parse_recipe` checks them.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    _ignored: tuple[str, ...] = PrivateAttr(default=())
    _renamed: tuple[tuple[str, str], ...] = PrivateAttr(default=())
    _found: tuple[str, ...] = PrivateAttr(default=())

    name: str = Field(description="What tables call it.")
    method: str | None = Field(
        default=None, description="A method registered under `imprint.methods`; null where a model is only measured."
    )
    model: ModelName = Field(
        default=TINY,
        description="`imprint-tiny`, a local folder, or a hub name; with an endpoint, the served model's name.",
    )
    endpoint: EndpointConfig | None = Field(default=None, description="A server that has the model; null: we do.")
    skills: Annotated[SkillsConfig, SKILLS] = SkillsConfig(path="household")
    lenient: bool = Field(default=False, description="Read the skills as real clients do, not by the specification.")
    trust: Annotated[TrustConfig, MAY_CHANGE] = TrustConfig()
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
    evaluation: EvaluationConfig = EvaluationConfig()
    device: Annotated[str, MAY_CHANGE] = Field(default="auto", description="auto, cpu, cuda, cuda:1, ...")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_context: int | None = Field(
        default=None,
        ge=16,
        description="Most tokens of a sequence of a local model; null: the model's own limit. Some models are exact "
        "up to a shorter length only, which the error at loading names.",
    )
    threads: Annotated[int | None, MAY_CHANGE] = Field(
        default=None, ge=1, le=1024, description="CPU threads; null leaves PyTorch's own choice."
    )
    checkpoint_interval: Annotated[int, MAY_CHANGE] = Field(default=10, ge=1, description="Steps between two.")
    keep_checkpoints: Annotated[int, MAY_CHANGE] = Field(default=2, ge=1, description="So many of the newest are kept.")
    keep_best: Annotated[str | None, MAY_CHANGE] = Field(
        default=None,
        description="Keep the checkpoint with the most validation success under this condition too, e.g. `without`: "
        "`imprint eval --best` takes it.",
    )
    loggers: Annotated[list[Literal["wandb", "trackio"]], MAY_CHANGE] = Field(
        default=[], description="Beside JSONL and TensorBoard: docs/manual/tracking.md."
    )

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

    def section(self, name: str, kind: type[Model]) -> Model:
        """A section of the recipe's method, with its defaults where the recipe has none."""
        found = (self.model_extra or {}).get(name)
        return found if isinstance(found, kind) else kind()

    @model_validator(mode="before")
    @classmethod
    def _with_sections(cls, values: Any) -> Any:
        """The sections of the method, checked or by default; those of other methods are left out."""
        if not isinstance(values, Mapping):
            return values
        core, sections, own = _parts(values)
        return {**core, **{name: sections.get(name) or kind() for name, kind in own.items()}}

    @property
    def ignored(self) -> tuple[str, ...]:
        """The sections of other methods that the recipe came with: they have no effect."""
        return self._ignored

    @property
    def notes(self) -> list[str]:
        """What the user is to know of the keys: old names, sections without effect, paths found elsewhere."""
        notes = [f"the section `{old}` is now called `{new}`" for old, new in self._renamed]
        return [*notes, *self._found] + [
            f"the section `{name}` has no effect on the method {self.method}" for name in self._ignored
        ]

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, or a packaged recipe by its name, with `key.subkey=value` overrides (values are YAML).

    Raises:
        RecipeError: unreadable, not a mapping, an unknown key or a wrong value (each named, with the nearest key).
    """
    path = recipe_file(path)
    return parse_recipe(read_yaml_mapping(path), path, overrides)


def parse_recipe(values: Mapping[str, Any], where: str | Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Validate a mapping as a recipe.

    Args:
        where: the file that it is from. Its relative paths are looked for beside that file, then in the working
            directory; those of `overrides` the other way round. What is found becomes an absolute path.

    Raises:
        RecipeError: an unknown key or a wrong value.
        LibraryError: `skills` is the name of an installed library, and of a folder with skills beside the recipe.
    """
    located, places = with_paths(Recipe, values, where, overrides)
    core, sections, own = _parts(located, where)
    recipe = validated(Recipe, {**core, **{name: sections[name] for name in own if name in sections}}, where)
    recipe._ignored = tuple(name for name in sections if name not in own)
    aliases = method_sections()[1]
    recipe._renamed = tuple((key, aliases[key]) for key in values if key in aliases and values[key] is not None)
    recipe._found, recipe._missing = tuple(places.notes), places.errors(where)
    return recipe


def with_paths(
    kind: type[BaseModel], values: Mapping[str, Any], where: str | Path | None, overrides: Sequence[str]
) -> tuple[dict[str, Any], Places]:
    """The values of a recipe of some kind after `overrides`, with absolute paths; and what was found where.

    Args: as `parse_recipe`.
    """
    here = Path.cwd()
    folders = [here] if where is None else list(dict.fromkeys([Path(where).absolute().parent, here]))
    places = Places(folders)
    served = any(change.startswith("endpoint") for change in overrides)
    located = _located(kind, deepcopy(dict(values)), places, served=served)
    if not overrides:
        return located, places
    for change in overrides:
        override(located, change)
    last = Places(folders[::-1], notes=places.notes)
    return _located(kind, located, last), last


def _located(
    kind: type[BaseModel], values: Mapping[str, Any], places: Places, *, served: bool = False
) -> dict[str, Any]:
    """A recipe's values with absolute paths: of its own keys, of methods' sections and of its world's options."""
    names = ("model",) if served or values.get("endpoint") else ()  # the server's own name for it
    found = places.resolved(kind, {key: value for key, value in values.items() if key not in names})
    known, aliases = method_sections()
    for key, value in values.items():
        section = known.get(aliases.get(key, key))
        if section is not None and isinstance(value, Mapping):
            found[key] = places.resolved(section, value, f"{key}.")
    env = values.get("env")
    if isinstance(env, Mapping):
        found["env"] = _located_env(env, places)
    skills = values.get("skills")
    library = skills.get("path") if isinstance(skills, Mapping) else skills
    if isinstance(library, str):
        refuse_two_libraries(library, places.folders[0])
    return {key: found.get(key, value) for key, value in values.items()}


def _located_env(env: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """The section `env` with absolute paths: the world's file, if it is in one, and its options."""
    name = str(env.get("name", EnvConfig().name))
    located = {**env, "name": places.in_file(name, "env.name")} if plugins.in_file(name) else dict(env)
    if any(isinstance(value, str | list | Mapping) for key, value in env.items() if key != "name"):
        with suppress(RecipeError):  # making the world reports it
            return places.resolved(world_kind(str(located.get("name", name))), located, "env.")
    return located


def _parts(
    values: Mapping[str, Any], where: str | Path | None = None
) -> tuple[dict[str, Any], dict[str, BaseModel], dict[str, type[BaseModel]]]:
    """What is the recipe's own, the sections of methods, checked, and the kinds of those of its method."""
    core = {key: value for key, value in values.items() if key in Recipe.model_fields}
    foreign = {key: value for key, value in values.items() if key not in Recipe.model_fields}
    method = core.get("method")
    own = _sections_of(installed_methods().get(method)) if isinstance(method, str) else {}
    return core, _checked_sections(foreign, own, where), own


def _checked_sections(
    values: Mapping[str, Any], own: Mapping[str, type[BaseModel]], where: str | Path | None
) -> dict[str, BaseModel]:
    """The sections of methods among a recipe's keys, each by its name of today.

    Raises:
        RecipeError: a key is no method's, is given under two names, or holds a wrong value.
    """
    known, aliases = method_sections()
    known = {**known, **own}
    found: dict[str, BaseModel] = {}
    for key, value in values.items():
        name = aliases.get(key, key)
        if name not in known:
            hint = _near(key, [*Recipe.model_fields, *known])
            for method, reason in _installed(tuple(sys.path))[1].items():
                hint += f" (the installed method {method!r} cannot be imported, and its keys are not known: {reason})"
            raise RecipeError("unknown key", where=where, key=key, hint=hint)
        if name in found or (name != key and name in values):
            raise RecipeError(f"is the old name of {name!r}, which is given too", where=where, key=key, hint="keep one")
        if isinstance(value, known[name]):
            found[name] = value
        elif value is not None:
            found[name] = validated(known[name], value, where, section=name)
    return found


def installed_methods() -> dict[str, Any]:
    """What is registered under `imprint.methods` and can be imported, by name (each a `methods.base.MethodSpec`)."""
    return _installed(tuple(sys.path))[0]


@lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    return plugins.load_all(METHODS)


def method_sections() -> tuple[dict[str, type[BaseModel]], dict[str, str]]:
    """The sections of all installed methods by name, and the old names of some."""
    known: dict[str, type[BaseModel]] = {}
    aliases: dict[str, str] = {}
    for spec in installed_methods().values():
        known |= {name: kind for name, kind in _sections_of(spec).items() if name not in known}
        aliases |= getattr(spec, "aliases", {})
    return known, aliases


def _sections_of(spec: Any) -> dict[str, type[BaseModel]]:
    return dict(getattr(spec, "sections", {}))


def validated(kind: type[Model], values: Any, where: str | Path | None, section: str = "") -> Model:
    """`kind` from `values`, with pydantic's first complaint as an error of ours.

    Args:
        section: the recipe's key that holds them; "" at the top.

    Raises:
        RecipeError: names the key, what is wrong with it, and the nearest known key.
    """
    try:
        return kind.model_validate(dict(values) if isinstance(values, Mapping) else values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in ([section] if section else []) + list(first["loc"]))
        if first["type"] == "extra_forbidden":
            raise RecipeError("unknown key", where=where, key=key, hint=_nearest(kind, first["loc"])) from None
        if first["type"] == "missing":
            raise RecipeError("is missing", where=where, key=key, hint=f"add `{key}: ...`") from None
        raise RecipeError(f"{first['msg']}{_given(first)}", where=where, key=key, hint="correct the value") from None


def _given(problem: Any) -> str:
    """The wrong value, unless it may be a secret in the wrong place."""
    return "" if problem["loc"][:1] == ("endpoint",) else f" (given: {problem.get('input')!r})"


def _nearest(kind: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """A hint for an unknown key: the nearest key of the same section, or all of them."""
    section: Any = kind
    for part in location[:-1]:
        section = section_of(declared(section).get(str(part), ()))
    return _near(str(location[-1]), list(getattr(section, "model_fields", {})))


def _near(key: str, keys: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, keys, n=1)
    return f"did you mean {near[0]!r}?" if near else f"the keys here are: {', '.join(keys)}"


def override(values: dict[str, Any], change: str) -> None:
    """Apply one `key.subkey=value` (the value is YAML) to the values of a recipe, in place; a list's keys are 0, 1, ...

    Raises:
        RecipeError: it is not so written, its value is no YAML, or it goes through what is no section.
    """
    key, equals, text = change.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"cannot read {change!r}", key="--set", hint="write it as key.subkey=value")
    *sections, last = key.split(".")
    place: Any = values
    for section in sections:
        at = _place(place, section, key)
        inner = place[at] if isinstance(place, list) else place.get(at)
        inner = {} if inner is None else inner
        inner = place[at] = {"path": inner} if key.startswith("skills.") and isinstance(inner, str) else inner
        if not isinstance(inner, dict | list):
            raise RecipeError(f"{section!r} is not a section", key=key, hint="`imprint train --keys` lists the keys")
        place = inner
    try:
        place[_place(place, last, key)] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{text!r} is not a YAML value", key=key, hint="put it in quotes") from error


def _place(section: Any, name: str, key: str) -> Any:
    """A key of a section, or of a list the place of an entry.

    Raises:
        RecipeError: the list has no such entry.
    """
    if not isinstance(section, list):
        return name
    if not (name.isascii() and name.isdigit() and int(name) < len(section)):
        raise RecipeError(f"there is no entry {name!r}", key=key, hint=f"the entries are 0 to {len(section) - 1}")
    return int(name)


def may_change(key: str) -> bool:
    """Whether a run may be resumed with another value of a dotted key (`support.keys.MAY_CHANGE`)."""
    free = changeable(Recipe)
    for name, section in method_sections()[0].items():
        free |= changeable(section, f"{name}.")
    return any(key == one or key.startswith(f"{one}.") for one in free)


def recipe_keys(kind: type[BaseModel] = Recipe, prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key of a recipe as (name, default, what it means), sections flattened with dots."""
    rows = []
    for name, field in kind.model_fields.items():
        inner = section_of(declared(kind)[name])
        if inner is not None:
            rows += recipe_keys(inner, f"{prefix}{name}.")
        else:
            default = "(required)" if field.is_required() else yaml.safe_dump(field.default, default_flow_style=True)
            rows.append((prefix + name, default.split("\n")[0], field.description or ""))
    return rows


def all_keys() -> list[tuple[str, str, str]]:
    """`recipe_keys`, and those of the sections that methods bring, with the methods' names."""
    rows = recipe_keys()
    for name, kind in method_sections()[0].items():
        users = [method for method, spec in installed_methods().items() if _sections_of(spec).get(name) is kind]
        note = f" (method{'s' * (len(users) > 1)}: {', '.join(users)})"
        rows += [(key, default, meaning + note) for key, default, meaning in recipe_keys(kind, f"{name}.")]
    return rows
