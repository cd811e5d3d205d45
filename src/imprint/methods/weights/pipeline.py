"""A pipeline: methods in sequence, each with its share of the environment steps; an agent goes in, an agent comes out.

    agent -> method 1 -> agent -> method 2 -> ... -> agent,    then one test

Fine-tuning and then RL is the usual order (InstructGPT, arXiv 2203.02155); the best row of SE-Bench (arXiv 2602.04811)
is closed-book fine-tuning followed by RL. Each stage is the recipe with the stage's keys merged over it (`stages.py`).
It begins with the weights of the last checkpoint before it and a fresh optimizer; the reference of a KL term is the
policy that it begins with.

All records go into one run. A stage begins with a step of its own (its step 0, at which nothing is trained), and ends
where the environment steps of all stages so far reach their shares: what one plays beyond its own, the next has less. A
checkpoint says which stage it belongs to, so that a stopped run resumes in that stage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imprint.methods.base import MethodSpec, Start, Workbench, make_method
from imprint.methods.weights.stages import PipelineConfig, check_stages, stage_recipe, stages_need

if TYPE_CHECKING:
    from imprint.agent import Agent
    from imprint.recipe import Recipe
    from imprint.runs.run import Run

__all__ = ["SPEC", "Pipeline"]


class Pipeline:
    """Runs the methods of its stages, each on what the one before it made."""

    def __init__(self, pipeline: PipelineConfig) -> None:
        self.stages = pipeline.stages

    def run(self, agent: Agent, bench: Workbench) -> Agent:
        trained = agent
        for index, stage in enumerate(self.stages):
            start = self.start(index, bench.run)
            if start is None:
                continue
            recipe = stage_recipe(bench.recipe, index, played=start.env_steps)
            bench.progress.note(f"stage {index + 1} of {len(self.stages)}: {stage.method}, {recipe.steps} steps")
            part = self.part(bench, recipe, start)
            part.sync(part.learner)
            trained = make_method(recipe).run(agent.trained(start.weights, agent.shown), part)
        return trained

    def start(self, index: int, run: Run) -> Start | None:
        """Where a stage begins, by the newest checkpoint of the run; None: a later stage has begun."""
        steps = run.checkpoint_steps()
        newest = run.checkpoint_state(steps[-1]) if steps else {}
        begun = newest.get("start", {"stage": 0, "step": 0, "env_steps": 0})
        if begun["stage"] > index:
            return None
        if newest and begun["stage"] < index:  # the stage before this one has ended
            begun = {"stage": index, "step": newest["step"] + 1, "env_steps": newest["env_steps"]}
        weights = run.checkpoint_path(begun["step"] - 1) if begun["step"] else None
        return Start(index, begun["step"], begun["env_steps"], weights, last=index + 1 == len(self.stages))

    def part(self, bench: Workbench, recipe: Recipe, start: Start) -> Workbench:
        """What the method of a stage works with: its own learner and sampling, and all else of the pipeline."""
        rollout = recipe.rollout
        longest = rollout.max_new_tokens or bench.sampling.max_new_tokens
        sampling = replace(bench.sampling, temperature=rollout.temperature, max_new_tokens=longest)
        return replace(bench, recipe=recipe, sampling=sampling, start=start)


SPEC = MethodSpec(
    Pipeline, {"pipeline": PipelineConfig}, needs=stages_need, paced=None, check=check_stages, least_group=1
)
