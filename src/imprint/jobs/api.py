"""The Python API: load an agent, run a method on it, measure it. `import imprint` gives these and the nouns.

>>> import imprint
>>> agent = imprint.load_agent("imprint-tiny", skills="household")
>>> trials = imprint.measure(agent, tasks=2, env={"name": "household", "max_turns": 4}, quiet=True)
>>> [trial.condition for trial in trials]
['with', 'with', 'without', 'without']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imprint.agent import Agent, ModelRef
from imprint.engine import make_engine
from imprint.jobs.train import run_name, train_run
from imprint.measurement.conditions import WITH, WITHOUT, Condition
from imprint.measurement.trials import trials_of
from imprint.recipe import Recipe, load_recipe, parse_recipe, validated
from imprint.report.records import run_trials
from imprint.runs.run import Run
from imprint.security.vetting import Override, TrustConfig, vet
from imprint.skills.config import SkillsConfig
from imprint.skills.library import load_library
from imprint.support.progress import Progress
from imprint.types import Trial

__all__ = ["load_agent", "measure", "read_trials", "run_method"]


def load_agent(
    model: str | Path = "imprint-tiny",
    skills: str | Path | Mapping[str, Any] | SkillsConfig = "household",
    *,
    endpoint: str | None = None,
    lenient: bool = False,
    trust: Sequence[str] = (),
) -> Agent:
    """An agent that shows all its skills. Its skills are vetted here; its model is loaded when it is needed.

    Args:
        model: `imprint-tiny`, a folder (a checkpoint, say), a hub name, or with `endpoint` a served model's name.
        skills: a folder of SKILL.md folders, an installed library, or a recipe's section `skills`.
        endpoint: the address of an OpenAI-compatible server that has the model.
        lenient: read the skills as real clients do, not by the specification.
        trust: skills that are used whatever a scan finds in them.

    Raises:
        LibraryError, SkillError: the skills cannot be read.
        TrustError: a skill is refused.
    """
    if isinstance(skills, Mapping):
        skills = validated(SkillsConfig, skills, None, "skills")
    library = load_library(skills, lenient=lenient)
    vet(library, TrustConfig(), Override(tuple(trust)))
    source = str(skills) if isinstance(skills, Path) else skills
    return Agent(ModelRef(str(model), endpoint=endpoint), library, WITH, source)


def run_method(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    quiet: bool = False,
) -> Agent:
    """Run a recipe's method, or resume it; the agent that came of it, with the weights of its last checkpoint.

    Args:
        recipe: a file, its values, or a recipe.
        out: the run's folder; `runs/NAME-sSEED` if None.
        overrides: `key.subkey=value`, as `--set` takes them (of a file).
        trust: skills that are used whatever a scan finds in them.
        quiet: no progress.

    Raises:
        ImprintError: the recipe does not hold together, or the folder holds another run.
    """
    if isinstance(recipe, str | Path):
        recipe = load_recipe(recipe, overrides)
    elif isinstance(recipe, Mapping):
        recipe = parse_recipe(recipe)
    folder = Path(out) if out is not None else Path("runs") / run_name(recipe.name, recipe.seed)
    train_run(recipe, folder, quiet=quiet, trust=trust)
    run = Run.open(folder)
    steps = run.checkpoint_steps()
    agent = load_agent(recipe.model, recipe.skills, lenient=recipe.lenient, trust=trust)
    return agent.trained(run.checkpoint_path(steps[-1]), WITHOUT) if steps else agent


def measure(
    agent: Agent,
    conditions: Sequence[Condition] = (WITH, WITHOUT),
    *,
    tasks: int = 60,
    split: str = "test",
    seed: int = 0,
    recipe: Recipe | None = None,
    env: Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
    quiet: bool = False,
) -> list[Trial]:
    """Play the same tasks with the same seeds under each condition: one trial per episode, condition by condition.

    Args:
        tasks: how many of the split.
        seed: of the sampling.
        recipe: the settings of context, rollout and evaluation; the defaults if None.
        env: the world and its options, in place of the recipe's.
        trust: skills that are used whatever a scan finds in them.
        quiet: no progress.

    Raises:
        ImprintError: the world or the model cannot be had, or there are fewer tasks.
    """
    values: dict[str, Any] = {"name": "measure"} if recipe is None else recipe.model_dump(mode="json")
    values |= {"method": None, "model": agent.model.base, "seed": seed}
    values |= {"skills": agent.skills} if agent.skills else {}
    values |= {} if env is None else {"env": dict(env)}
    if agent.model.endpoint is not None:
        values["endpoint"] = {**(values.get("endpoint") or {}), "base_url": agent.model.endpoint}
    engine = make_engine(parse_recipe(values), trust=Override(tuple(trust)), library=agent.library)
    chosen = engine.tasks(split, tasks)
    with Progress("measure", quiet=quiet) as progress:
        progress.begin(len(conditions) * len(chosen))
        played = engine.evaluator.conditions(
            chosen, conditions, lambda turns: progress.advance(f"{turns} turns in the last episode")
        )
    return trials_of(played, split=split)


def read_trials(run: str | Path) -> list[Trial]:
    """Every measured episode of a run's folder.

    Raises:
        CheckpointError: there is no run, or a line is damaged.
    """
    return run_trials(Run.open(run))
