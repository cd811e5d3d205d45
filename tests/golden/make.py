"""Made the golden files of `test_golden.py`, once: `python tests/golden/make.py` in the project's folder.

They are what the code of its day wrote, and later code must read. To make them anew is to give that promise up.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.engine.endpoint import EndpointEngine
from imprint.envs.base import Demonstration
from imprint.envs.household.world import PHRASES, HouseholdWorld
from imprint.episodes import Request
from imprint.exemplars import with_skills
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.methods.demonstrations import demonstration_samples
from imprint.policy.model import Policy, build_tiny
from imprint.policy.tokenizer import train_tokenizer
from imprint.policy.usage import Usage
from imprint.progress import Progress
from imprint.recipe import load_recipe, parse_recipe
from imprint.skills.library import household_library
from imprint.train import train_run
from imprint.types import Episode, StopReason, Turn

GOLDEN = Path("tests/golden")
TAUGHT = 50
RECORDS = ("metrics.jsonl", "evaluations.jsonl", "curriculum.jsonl")
ENV = {"seed": 48, "max_turns": 6, "train": 2, "validation": 2, "test": 2}
RECIPE = {
    "name": "golden",
    "model": str(GOLDEN / "model"),
    "steps": 6,
    "env": {"name": "household", **ENV},
    "rollout": {"tasks": 2, "group": 4, "max_new_tokens": 16},
    "evaluation": {"interval": 3, "tasks": 2, "test_tasks": 2, "temperature": 1.0},
    "curriculum": {"interval": 1, "threshold": -0.1},
    "transfer": {"replay": 2, "replay_size": 4},
    "learner": {"lr": 1e-3},
    "checkpoint_interval": 3,
    "keep_checkpoints": 1,
    "device": "cpu",
    "threads": 1,
}


def make_model(folder: Path) -> None:
    """A tiny policy that was shown the solutions until it finds some of them, with a page oftener than without."""
    world, library = HouseholdWorld(**ENV), household_library()
    shown = [(task, world.exemplar(task)) for split in ("train", "validation") for task in world.tasks(split)]
    texts = [
        f"{e.first_observation}\n" + "".join(f"> {s.command}\n{s.observation}\n" for s in e.steps) for _, e in shown
    ]
    texts += [f"{skill.name}\n{skill.description}\n{skill.body}" for skill in map(library.__getitem__, library.names)]
    tokenizer = train_tokenizer(texts, 400, 2048, PHRASES)
    ends = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    model = build_tiny(len(tokenizer), width=24, layers=1, heads=4, max_context=2048, seed=0, **ends)
    policy = Policy(model.eval(), tokenizer, "golden")
    context, samples = Context(policy, ContextConfig(style="plain")), []
    for task, exemplar in shown:
        environment = world.environment()
        first = environment.reset(task, 0)
        turns = tuple((step.command, environment.step(step.command), 1.0) for step in exemplar.steps)
        for pages, weight in ((library.serving(task.category), 1.0), ((), 0.3)):
            played = tuple((command, result, weight) for command, result, _ in turns)
            samples += demonstration_samples(Demonstration(pages, first, played, True), context, 0.0)
    learner = Learner(policy, LearnerConfig(lr=1e-2), total_steps=TAUGHT)
    for _ in range(TAUGHT):
        learner.imitate(samples)
    policy.save(folder)


def make_run(name: str, method: str) -> None:
    """A run stopped in its fourth step of six, one row after its checkpoint; and what it leads to when it goes on."""
    run, finished = GOLDEN / name, GOLDEN / f"{name}-finished"
    recipe, steps = parse_recipe({**RECIPE, "method": method}), []
    advance = Progress.advance

    def stop(self: Progress, numbers: str = "", by: int = 1) -> None:
        steps.append(numbers)
        if len(steps) == 4:
            raise KeyboardInterrupt

    Progress.advance = stop
    with suppress(KeyboardInterrupt):
        train_run(recipe, run, quiet=True)
    Progress.advance = advance
    (run / ".lock").unlink()
    shutil.rmtree(run / "tensorboard")
    shutil.copytree(run, finished)
    train_run(load_recipe(finished / "recipe.yaml"), finished, quiet=True)
    files = [str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()]
    for path in finished.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in RECORDS:
            path.unlink()
    kept = [file for file in files if not file.startswith((".", "tensorboard"))]
    (finished / "files.txt").write_text("".join(f"{file}\n" for file in sorted(kept)))


def make_store(folder: Path) -> None:
    """Two solved games as a server's answers, one with an exemplar in the context, under their keys."""
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "store": str(folder), "extra": {"top_p": 0.9}}
    asked = {**RECIPE, "model": "org/expert", "method": "zero_shot", "steps": 0, "endpoint": endpoint}
    engine = EndpointEngine(parse_recipe(asked))
    (task, other), library = engine.tasks("train"), engine.library
    for exemplars in ((), (with_skills(engine.world.exemplar(other), library),)):
        request = Request(task, 7, library.serving(task.category), exemplars)
        said = [f"<think>So.</think>\n<action>{s.command}</action>" for s in engine.world.exemplar(task).steps]
        turns = tuple(Turn(text, "", "", 0.0, True, 90 * n, 9 * n, 9 * n + 9) for n, text in enumerate(said, start=1))
        played = Episode(task, 7, (), "", turns, True, StopReason.SUCCESS)
        usage = Usage(requests=len(turns), retries=1, prompt_tokens=810, completion_tokens=54, cached_tokens=400)
        key = engine.rollout._key(request, engine.sampling)
        engine.store.add(key, engine.rollout._replay(request, played), usage)
        print(key)
    for lock in folder.glob(".*.lock"):
        lock.unlink()


if __name__ == "__main__":
    for folder in ("model", "run", "run-finished", "run-grpo", "run-grpo-finished", "store"):
        shutil.rmtree(GOLDEN / folder, ignore_errors=True)
    make_model(GOLDEN / "model")
    make_run("run", "imprint")
    make_run("run-grpo", "grpo")
    make_store(GOLDEN / "store")
