"""The lessons of pre-training: imitation of a world's demonstrations, with evaluations on the real tasks in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from imprint.context.prompt import Context
from imprint.context.visual import VisualContext
from imprint.engine.local import rollout_for
from imprint.envs.base import Demonstration, PractisableWorld, TeachableWorld
from imprint.learning.learner import Learner
from imprint.learning.losses.sft import SftLoss
from imprint.learning.sample import Sample
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.measurement.evaluate import Evaluator
from imprint.models.sampling import Sampling
from imprint.pretrain.demonstrations import demonstration_samples
from imprint.pretrain.own_play import OwnPlay
from imprint.pretrain.recipe import PretrainRecipe
from imprint.pretrain.texts import HELD_OUT, language_of
from imprint.pretrain.transcription import transcription_metrics, transcription_samples
from imprint.rollout.tokens import TokenRollout, derive_seed
from imprint.skills.library import SkillLibrary
from imprint.support.files import append_jsonl, atomic_folder
from imprint.support.progress import Progress

OWN_PLAY_INTERVAL = 20  # steps


def lessons_of(recipe: PretrainRecipe, step: int) -> list[str]:
    """The lesson of each demonstration of a step: every other from the newest, the rest from all that have begun."""
    begun = [name for start, name in sorted((start, name) for name, start in recipe.lessons.items()) if start <= step]
    return [begun[-1] if index % 2 == 0 else begun[index // 2 % len(begun)] for index in range(recipe.demos)]


@dataclass(frozen=True, slots=True)
class Kept:
    """The evaluation whose policy is in the output folder: its step, and the success with skills (0 to 1)."""

    step: int
    success: float


class LessonTrainer:
    """Trains a policy on the lessons, and evaluates it on the real tasks.

    Args:
        rollout: of the policy, in the recipe's context.
        out: folder for the policy.
        log: file for the figures (JSONL).

    Attributes:
        kept: what `out` holds; None before the first evaluation that may replace it.
    """

    def __init__(
        self,
        recipe: PretrainRecipe,
        world: TeachableWorld,
        rollout: TokenRollout,
        library: SkillLibrary,
        out: Path,
        log: Path,
        progress: Progress,
    ) -> None:
        self.recipe, self.world, self.library, self.out, self.log = recipe, world, library, out, log
        self.policy, self.context, self.progress = rollout.context.policy, rollout.context, progress
        self.kept: Kept | None = None
        rollouts = {"": rollout}
        if recipe.drawn_history is not None:
            config = recipe.context.model_copy(update={"history": "image"})
            rollouts["drawn_history/"] = rollout_for(self.policy, world, config)
        self.contexts = [one.context for one in rollouts.values()]
        playing = Sampling(1.0, recipe.max_new_tokens)
        self.own_play = OwnPlay(world, rollout, playing) if isinstance(world, PractisableWorld) else None
        self.begun: list[Demonstration] = []  # what the policy has begun and is not learned yet
        self.evaluators = {
            name: Evaluator(one, library, Sampling(0.4, recipe.max_new_tokens), recipe.seed)
            for name, one in rollouts.items()
        }
        texts = language_of(world) if recipe.context.draws else []
        self.texts, self.held_out = texts[HELD_OUT:], texts[:HELD_OUT]

    def train(self, steps: range, *, save: bool = True) -> None:
        """Train on the lessons of these steps, with a learning rate schedule (and an average) of their own."""
        recipe = self.recipe
        learner = Learner(self.policy, recipe.learner, total_steps=recipe.schedule_steps or len(steps))
        if recipe.ema is not None:
            learner.keep_teacher("ema", recipe.ema)
        self.progress.begin(len(steps))
        for step in steps:
            numbers = learner.step(self._samples(step), SftLoss())
            if (step + 1) % recipe.show_interval == 0 or step + 1 == steps.stop:
                with _averaged(learner, lasting=step + 1 == steps.stop):
                    self.evaluate(step + 1, numbers, save=save)
            nll = numbers.get("loss/nll")  # none where the teacher solved no game of the step
            self.progress.advance("no demonstration" if nll is None else f"nll {nll:.3f}")

    def _samples(self, step: int) -> list[Sample]:
        recipe, context = self.recipe, self.context
        start, lessons = recipe.own_play, lessons_of(recipe, step)
        begins = start is not None and step >= start
        demos: list[Demonstration | None] = [*self._begun(step)] if begins else []
        demos += [
            self.world.demonstration(derive_seed(recipe.seed, "dream", step, index), lesson=lessons[index])
            for index in range(recipe.demos // 2 if begins else 0, recipe.demos)
        ]
        samples = [
            sample
            for index, demo in enumerate(demos)
            if demo is not None
            for sample in demonstration_samples(demo, self._context_of(step, index), recipe.observation_weight)
        ]
        if isinstance(context, VisualContext) and recipe.transcription_pictures:
            seed = derive_seed(recipe.seed, "aloud", step)
            samples += transcription_samples(context, self.texts, recipe.transcription_pictures, seed)
        return samples

    def _begun(self, step: int) -> list[Demonstration]:
        """Half a step's demonstrations, begun by the policy as it was at most `OWN_PLAY_INTERVAL` steps ago."""
        assert self.own_play is not None
        half = self.recipe.demos // 2
        if len(self.begun) < half:
            lessons = [name for _ in range(OWN_PLAY_INTERVAL) for name in lessons_of(self.recipe, step)[:half]]
            self.begun = self.own_play.demonstrations(lessons, derive_seed(self.recipe.seed, "own play", step))
        now, self.begun = self.begun[:half], self.begun[half:]
        return now

    def _context_of(self, step: int, index: int) -> Context:
        """Pairs of demonstrations alternate: of the newest lesson and of another one each (`lessons_of`)."""
        start = self.recipe.drawn_history
        return self.contexts[index // 2 % 2 if start is not None and step >= start else 0]

    def evaluate(self, step: int, numbers: dict[str, float], *, save: bool = True) -> None:
        """Play the real tasks, with the skills and without; log the figures, and save what is to be kept."""
        shares = {key: share for name in self.evaluators for key, share in self._success(name).items()}
        transcribed = (
            transcription_metrics(self.context, self.held_out) if isinstance(self.context, VisualContext) else {}
        )
        append_jsonl(self.log, [{"step": step, **numbers, **shares, **transcribed}])
        if save:
            self._keep(Kept(step, fmean(share for key, share in shares.items() if key.endswith(f"/{WITH.name}"))))
        self.progress.note(f"step {step}: {_listed(numbers)}; success on the held-out real tasks: {_listed(shares)}")

    def _success(self, name: str) -> dict[str, float]:
        """The share of the real tasks that are solved, with the skills and without."""
        evaluator = self.evaluators[name]
        evaluator.forget()
        tasks = list(self.world.tasks("validation"))[: self.recipe.show_tasks]
        played = evaluator.conditions(tasks, (WITH, WITHOUT))
        return {
            f"success/{name}{arm}": sum(e.success for e in episodes) / len(episodes) for arm, episodes in played.items()
        }

    def _keep(self, found: Kept) -> None:
        """Save the policy, unless an earlier one is better and the recipe keeps the best."""
        if self.recipe.keep == "last" or self.kept is None or found.success >= self.kept.success:
            self.kept = found
            self.save()

    def save(self) -> None:
        """Replace what is in the output folder by the policy as it is now."""
        with atomic_folder(self.out) as folder:
            self.policy.save(folder)


@contextmanager
def _averaged(learner: Learner, *, lasting: bool) -> Iterator[None]:
    """With the average of the policy's weights in their place, where one is kept; afterwards too if `lasting`."""
    if learner.teacher is None:
        yield
        return
    model = learner.policy.model
    own = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.load_state_dict(learner.teacher.policy.model.state_dict())
    yield
    if not lasting:
        model.load_state_dict(own)


def _listed(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name.partition('/')[2] or name} {value:.3g}" for name, value in numbers.items())
