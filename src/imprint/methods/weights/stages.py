"""The stages of a pipeline: their recipes, made of the pipeline's, and what is checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imprint.errors import RecipeError
from imprint.methods.base import Need, Settings, check_method, named_spec
from imprint.recipe import Recipe, parse_recipe

SECTIONS = ("rollout", "reward", "advantage", "learner")  # of those that every recipe has, what a stage may set
COMMON = ("rollout.batch", "learner.freeze_vision_tower")  # in these sections, what it may not


class Stage(BaseModel):
    """One method of a pipeline; further keys are sections of the recipe or of the method."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    method: str = Field(description="A method that trains.")
    share: float = Field(gt=0, le=1, description="Its share of `env_steps` and `steps`.")

    @property
    def changes(self) -> dict[str, Any]:
        """What is the stage's own in its recipe."""
        return dict(self.model_extra or {})


class PipelineConfig(BaseModel):
    """The `pipeline` section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stages: tuple[Stage, ...] = Field(
        default=(),
        description="Methods in order, each with its `share` (they add up to 1) and the sections in which it differs: "
        f"{', '.join(SECTIONS)}, and its method's own.",
    )

    def until(self, total: int, index: int) -> int:
        """How much of `total` belongs to the first `index` stages."""
        return total if index == len(self.stages) else round(total * sum(stage.share for stage in self.stages[:index]))


def stage_recipe(recipe: Recipe, index: int, played: int | None = None) -> Recipe:
    """The recipe of a stage: the pipeline's, with the stage's keys merged over it. Only the last stage tests.

    Args:
        index: from 0.
        played: environment steps of the stages before it; None: their shares. It ends where all so far reach theirs.

    Raises:
        RecipeError: names the stage, and a key of it that is unknown, or the same in every stage.
    """
    config = recipe.section("pipeline", PipelineConfig)
    stage = config.stages[index]
    with about_stage(index, stage):
        _refuse_common(stage)
        values = recipe.model_dump(mode="json", exclude={"pipeline"})
        values |= {
            "method": stage.method,
            "steps": config.until(recipe.steps, index + 1) - config.until(recipe.steps, index),
        }
        if recipe.env_steps is not None:
            before = config.until(recipe.env_steps, index) if played is None else played
            values["env_steps"] = max(1, config.until(recipe.env_steps, index + 1) - before)
        if index + 1 < len(config.stages):
            values["evaluation"]["test_tasks"] = 0
        merged = parse_recipe(_merged(values, stage.changes))
        if merged.ignored:
            raise RecipeError("has no effect on this method", key=merged.ignored[0], hint="remove it")
        return merged


def check_stages(recipe: Recipe) -> None:
    """See that every stage has something to do, and suits its method.

    Raises:
        RecipeError: names the stage.
    """
    config = recipe.section("pipeline", PipelineConfig)
    if not config.stages:
        raise RecipeError("is missing", key="pipeline.stages", hint="list the methods, as {method: grpo, share: 0.5}")
    total = sum(stage.share for stage in config.stages)
    if abs(total - 1) > 1e-6:
        raise RecipeError(f"the shares add up to {total:g}", key="pipeline.stages", hint="let them add up to 1")
    for index, stage in enumerate(config.stages):
        part = stage_recipe(recipe, index)
        with about_stage(index, stage):
            if recipe.steps and not part.steps:
                raise RecipeError(
                    f"a share of {stage.share:g} is none of {recipe.steps} steps", key="share", hint="give it more"
                )
            if "weights" not in named_spec(part).needed(named_spec(part).settings(part)):
                raise RecipeError("trains nothing", key="method", hint="choose a method that trains")
            check_method(part)


def stages_need(settings: Settings) -> set[Need]:
    """What any of the stages needs, by the settings of the pipeline.

    Raises:
        RecipeError: names a stage whose method there is not, or which is a pipeline.
    """
    found: set[Need] = {"weights"}
    config = settings["pipeline"]
    assert isinstance(config, PipelineConfig)
    for index, stage in enumerate(config.stages):
        with about_stage(index, stage):
            own = {key: value for key, value in stage.changes.items() if key not in Recipe.model_fields}
            part = parse_recipe({"name": "stage", "method": stage.method, **own})
            spec = named_spec(part)
            if "pipeline" in spec.sections:
                raise RecipeError("is a pipeline itself", key="method", hint="list its stages here")
            found |= spec.needed(spec.settings(part))
    return found


@contextmanager
def about_stage(index: int, stage: Stage) -> Iterator[None]:
    """Errors raised within name the stage, counted from 1, and its key in the recipe."""
    try:
        yield
    except RecipeError as error:
        key = f"pipeline.stages.{index}" + (f".{error.key}" if error.key else "")
        problem = f"stage {index + 1} ({stage.method}): {error.problem}"
        raise RecipeError(problem, key=key, hint=error.hint) from error


def _refuse_common(stage: Stage) -> None:
    """Refuse what must be the same in every stage: what is measured, and what the model is.

    Raises:
        RecipeError: names the key.
    """
    for name, change in stage.changes.items():
        inner = [f"{name}.{key}" for key in change] if isinstance(change, Mapping) else []
        own = name in Recipe.model_fields and name not in SECTIONS
        found = [name] if own else [key for key in inner if key in COMMON]
        if found:
            raise RecipeError("is the same in every stage", key=found[0], hint="set it outside of the stages")


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `values`, section by section."""
    merged = dict(values)
    for key, change in changes.items():
        old = values.get(key)
        merged[key] = _merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return merged
