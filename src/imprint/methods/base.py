"""What a method is: one file with a class and its `MethodSpec`, and one entry point in the group `imprint.methods`.

    [project.entry-points."imprint.methods"]
    my-method = "my_package.my_method:SPEC"

Importing the file must not load PyTorch: a recipe is checked with the sections of every installed method
(`from imprint.learning import losses` loads it when a loss is made). The class gets its recipe sections, validated, as
keyword arguments, and maps an agent to an agent:

    class MyMethod:
        def __init__(self, my_section: MySection) -> None: ...
        def run(self, agent: Agent, bench: Workbench) -> Agent: ...

    SPEC = MethodSpec(MyMethod, sections={"my_section": MySection}, needs={"weights"})

A method that trains composes `methods.loop.Loop`, and also has `state()` and `restore(state)`. It can then be a stage
of a pipeline too: what it numbers or seeds by `loop.step` goes on from the stage before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

from imprint.envs.base import TeachingWorld
from imprint.errors import RecipeError
from imprint.recipe import METHODS, installed_methods
from imprint.support import plugins

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.context.prompt import Context
    from imprint.envs.base import World
    from imprint.learning.config import TeacherKind
    from imprint.learning.losses import Loss
    from imprint.learning.sample import Floats, Sample
    from imprint.measurement.evaluate import Evaluator
    from imprint.models.sampling import Sampling
    from imprint.models.served.usage import Meter
    from imprint.recipe import Recipe
    from imprint.rollout.base import Rollout
    from imprint.runs.run import Run
    from imprint.support.progress import Progress
    from imprint.types import Draw, Task

__all__ = [
    "Learner",
    "Method",
    "MethodSpec",
    "Need",
    "Start",
    "Workbench",
    "check_method",
    "make_method",
    "measuring_methods",
    "method_names",
    "method_spec",
]

Need = Literal["weights", "logprobs", "chat", "solutions"]
Settings = Mapping[str, BaseModel]  # a method's sections by name
Needs = Collection[Need] | Callable[[Settings], Collection[Need]]
WEIGHTS: tuple[Need, ...] = ("weights",)


class Method(Protocol):
    """One way from an agent to an agent."""

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        """Train, write or choose; the agent that came of it. A stopped run resumes from its newest checkpoint."""
        ...


class Learner(Protocol):
    """What changes weights: the local `learning.learner.Learner`, or another engine's.

    Attributes:
        optimizer_steps: taken since it was made.
        tokens: trained in these, once in every pass.
    """

    optimizer_steps: int
    tokens: int

    def step(self, samples: Sequence[Sample], loss: Loss, *, done: float | None = None) -> dict[str, float]:
        """Learn from a batch; `done` is the share of the training that lies behind."""
        ...

    def logprobs(self, samples: Sequence[Sample]) -> list[Floats]:
        """Of each sample's trained tokens under the policy as it is, in nats."""
        ...

    def keep_teacher(self, kind: TeacherKind, decay: float = 0.0) -> None:
        """Keep a teacher for the losses that need one; before a checkpoint is loaded."""
        ...

    def save(self, folder: Path) -> None:
        """Write the policy as a Hugging Face folder."""
        ...

    def load(self, folder: Path) -> None:
        """Put the weights of such a folder back."""
        ...

    def state(self) -> dict[str, Any]:
        """What an exact resume needs beside the weights: plain types and tensors."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Start:
    """Where a method's part of a run begins: at 0, or behind the parts of other methods (`methods.weights.pipeline`).

    Attributes:
        stage: its place among the parts, from 0.
        step: of the run, which is the part's step 0.
        env_steps: played in training before it.
        weights: a checkpoint of the run whose weights it begins with; None: those of the recipe's model.
        last: the run ends with it.
    """

    stage: int = 0
    step: int = 0
    env_steps: int = 0
    weights: Path | None = None
    last: bool = True

    def to_record(self) -> dict[str, Any]:
        """What a checkpoint says of it; nothing for a run of one method."""
        if not self.stage:
            return {}
        return {"start": {"stage": self.stage, "step": self.step, "env_steps": self.env_steps}}


@dataclass
class Workbench:
    """What a method works with: built by an engine from a recipe, or by a test from parts.

    Attributes:
        rollout: plays episodes; `sampling` is for training, the evaluator has its own.
        make_learner: gives what changes the weights, on demand: by a recipe, from a checkpoint (None: as they are).
        context: how episodes are rendered under other conditions; None where the model is behind an endpoint.
        meter: what a served model was asked and what that costs.
        draw: gives restored pictures their pixels, where there are pictures.
        sync: tells the sampler that the learner has changed the weights.
        start: where in the run the method begins.
    """

    recipe: Recipe
    world: World
    rollout: Rollout
    sampling: Sampling
    evaluator: Evaluator
    run: Run
    progress: Progress
    make_learner: Callable[[Recipe, Path | None], Learner]
    task_source: Callable[[str, int | None], Sequence[Task]]
    context: Context | None = None
    meter: Meter | None = None
    draw: Draw | None = None
    sync: Callable[[Learner], None] = lambda learner: None
    start: Start = Start()

    @cached_property
    def learner(self) -> Learner:
        """What changes the weights, made once.

        Raises:
            RecipeError: the engine has no weights that can be changed.
        """
        return self.make_learner(self.recipe, self.start.weights)

    @property
    def seed(self) -> int:
        return self.recipe.seed

    def tasks(self, split: str, count: int | None = None) -> Sequence[Task]:
        """The first `count` tasks of a split.

        Raises:
            RecipeError: there are none, or fewer.
        """
        return self.task_source(split, count)


@dataclass(frozen=True)
class MethodSpec:
    """What is known of a method without running it.

    Attributes:
        method: the class, or where it is (`module:Class`) if importing it loads something heavy.
        sections: the recipe keys it brings, and their settings.
        needs: of model and world, as a set or as a function of the settings: `weights` (to be changed), `logprobs` (of
            what was sampled), `chat`, `solutions` (the world can show how its tasks are done).
        aliases: old names of its sections that still load.
        paced: what of the method is a function of the number of steps, in words; None: its work after the last step
            does not let it be continued behind it.
        check: raises RecipeError where a recipe does not suit the method, before anything is loaded.
        least_group: the fewest episodes of a task (`rollout.group`) that it can learn from: 2 where they are compared
            with each other.
    """

    method: Callable[..., Method] | str
    sections: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    needs: Needs = field(default=WEIGHTS)
    aliases: Mapping[str, str] = field(default_factory=dict)
    paced: Sequence[str] | None = ("whatever the method derives from it",)
    check: Callable[[Recipe], None] | None = None
    least_group: int = 2

    def load(self) -> Callable[..., Method]:
        """The class."""
        return plugins.resolve(self.method) if isinstance(self.method, str) else self.method

    def settings(self, recipe: Recipe) -> dict[str, BaseModel]:
        """The sections of `recipe`, with their defaults where it has none."""
        return {name: recipe.section(name, kind) for name, kind in self.sections.items()}

    def needed(self, settings: Settings) -> frozenset[Need]:
        """What the method needs with these settings."""
        return frozenset(self.needs(settings) if callable(self.needs) else self.needs)


def method_names() -> list[str]:
    """The methods that are installed."""
    return plugins.names(METHODS)


def method_spec(name: str) -> MethodSpec:
    """The spec registered as `name`.

    Raises:
        RecipeError: no such method, its package cannot be imported, or what is registered is no spec.
    """
    found = plugins.load(METHODS, "method", name, "method")
    if not isinstance(found, MethodSpec):
        raise RecipeError(
            f"what is registered as the method {name!r} is not a MethodSpec",
            key="method",
            hint="its package was written for another version of Imprint: see imprint.methods.base",
        )
    return found


def named_spec(recipe: Recipe) -> MethodSpec:
    """The spec of a recipe's method.

    Raises:
        RecipeError: the recipe names none, or one that does not exist.
    """
    if recipe.method is None:
        raise RecipeError("is missing", key="method", hint=f"choose one of: {', '.join(method_names())}")
    return method_spec(recipe.method)


def make_method(recipe: Recipe) -> Method:
    """The method of a recipe, with its settings.

    Raises:
        RecipeError: the recipe names no method, or one that does not exist.
    """
    spec = named_spec(recipe)
    return spec.load()(**spec.settings(recipe))


def measuring_methods() -> list[str]:
    """The installed methods that change no weights."""
    specs = {name: spec for name, spec in installed_methods().items() if isinstance(spec, MethodSpec)}
    return [name for name, spec in specs.items() if "weights" not in spec.needed(_defaults(spec.sections.items()))]


def check_method(recipe: Recipe) -> None:
    """See that a recipe's method suits its model, without loading either.

    Raises:
        RecipeError: it needs weights or log-probs and the model is behind an endpoint, its groups are too small, or it
            does not exist.
    """
    spec = named_spec(recipe)
    needs = spec.needed(spec.settings(recipe))
    if recipe.endpoint is not None and "weights" in needs:
        raise RecipeError(
            f"the method {recipe.method!r} trains, and a model behind an endpoint cannot be trained",
            key="method",
            hint=f"choose one that only measures ({', '.join(measuring_methods())}), or a local model and no endpoint",
        )
    if recipe.endpoint is not None and "logprobs" in needs:
        raise RecipeError(
            f"the method {recipe.method!r} needs log-probs here, and those of a served model are not known",
            key="method",
            hint="choose other settings of the method (`imprint train --keys` lists them), or a local model",
        )
    if recipe.rollout.group < spec.least_group:
        raise RecipeError(
            f"the method {recipe.method!r} compares the episodes of a task with each other (given: "
            f"{recipe.rollout.group})",
            key="rollout.group",
            hint=f"set it to {spec.least_group} or more",
        )
    if spec.check is not None:
        spec.check(recipe)


def check_world(recipe: Recipe, world: World) -> None:
    """See that the world gives what a recipe's method needs.

    Raises:
        RecipeError: it needs solutions, and the world shows none.
    """
    spec = named_spec(recipe)
    if "solutions" in spec.needed(spec.settings(recipe)) and not isinstance(world, TeachingWorld):
        raise RecipeError(
            f"the world {world.name!r} does not show how its tasks are done",
            key="env.name",
            hint="use a world that has `exemplar` (docs/manual/worlds.md), or a method that needs none",
        )


def _defaults(sections: Iterable[tuple[str, type[BaseModel]]]) -> dict[str, BaseModel]:
    return {name: kind() for name, kind in sections}
