"""A workbench over a toy world, put together from parts."""

from __future__ import annotations

from functools import partial

from imprint.agent import Agent, ModelRef
from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.engine.base import tasks_of
from imprint.learning.learner import Learner
from imprint.measurement.evaluate import Evaluator
from imprint.methods.base import Workbench, make_method
from imprint.models.local.sampler import LocalSampler
from imprint.models.sampling import Sampling
from imprint.recipe import parse_recipe
from imprint.rollout.tokens import TokenRollout
from imprint.runs.run import Run
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill
from imprint.support.progress import Progress
from tiny import DoorWorld, tiny_policy

LIBRARY = SkillLibrary(
    [
        Skill("general", "All.", "go north", metadata={"tasks": "*"}),
        Skill("blue", "Blue.", "open the blue door", metadata={"tasks": "blue"}),
        Skill("red", "Red.", "open the red door", metadata={"tasks": "red"}),
    ]
)


class Bench:
    """A method, its agent, and a workbench in a run's folder.

    Attributes:
        asked: every request that was played.
    """

    def __init__(self, folder, values, world=None, policy=None, resume=False, won=None):
        self.recipe = parse_recipe({"name": "t", **values})
        self.world, self.policy = world or DoorWorld(), policy or tiny_policy()
        self.context = Context(self.policy, ContextConfig(style="plain"))
        self.rollout = TokenRollout(LocalSampler(self.policy), self.world, self.context)
        self.asked = []
        play = self.rollout.play

        def played(requests, sampling, progress=None):
            self.asked += requests
            episodes = play(requests, sampling, progress)
            return episodes if won is None or sampling.temperature != 1.0 else won(episodes)

        self.rollout.play = played
        self.run = Run.create(folder, self.recipe.to_yaml(), resume=resume)
        self.evaluator = Evaluator(self.rollout, LIBRARY, Sampling(0.4, 4), self.recipe.seed)
        self.notes = []
        progress = Progress("t", quiet=True)
        progress.note = self.notes.append
        self.parts = Workbench(
            recipe=self.recipe,
            world=self.world,
            rollout=self.rollout,
            sampling=Sampling(1.0, 4),
            evaluator=self.evaluator,
            run=self.run,
            progress=progress,
            make_learner=lambda recipe, weights: Learner(
                self.policy, recipe.learner, total_steps=recipe.steps, weights=weights
            ),
            task_source=partial(tasks_of, self.world),
            context=self.context,
        )
        self.agent = Agent(ModelRef("tiny"), LIBRARY, skills="toys")
        self.method = make_method(self.recipe)

    def go(self):
        """Run the method to its end."""
        return self.method.run(self.agent, self.parts)

    def rows(self, record):
        return self.run.rows(record)
