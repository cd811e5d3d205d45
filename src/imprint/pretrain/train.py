"""Pre-training of a base policy: imitate demonstrations in dream games, where only the page says what to do.

The result acts in a world's language and follows a page it reads in its context; it does not know the real recipes,
because no demonstration ever showed one (the household's are in `envs/household/dreams.py`).
"""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pydantic import BaseModel, ConfigDict, Field

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.context.visual import VisualContext
from imprint.envs.base import DreamWorld, make_world
from imprint.errors import CheckpointError, RecipeError
from imprint.learning.config import LearnerConfig
from imprint.learning.learner import Learner
from imprint.learning.scoring import Sample
from imprint.measure.evaluate import Evaluator
from imprint.models.local.policy import Policy, build_tiny
from imprint.models.local.sampler import Sampling
from imprint.pretrain.demonstrations import demonstration_samples
from imprint.pretrain.tokenizer import train_tokenizer
from imprint.pretrain.transcription import reading, said_aloud
from imprint.pretrain.vision_lesson import blindfolded, language_of, teach_eyes
from imprint.pretrain.vision_model import VisionConfig, give_eyes
from imprint.recipe import EnvConfig
from imprint.rollout.pictures import rollout_for
from imprint.rollout.tokens import Rollout, derive_seed
from imprint.skills.library import SkillLibrary
from imprint.support.files import append_jsonl, atomic_folder
from imprint.support.progress import Progress

HELD_OUT = 300  # texts of the world's language that no lesson draws


class ModelConfig(BaseModel):
    """The architecture: a Llama from scratch."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int = Field(default=128, ge=16, description="Hidden size.")
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    vocab_size: int = Field(default=1536, ge=300)
    max_context: int = Field(default=2048, ge=128, description="Longest sequence, in tokens.")


class PretrainRecipe(BaseModel):
    """Everything the base policy depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    seed: int = 0
    steps: int = Field(default=2000, ge=1)
    demos: int = Field(default=24, ge=1, description="Demonstrations per step.")
    lessons: dict[str, int] = Field(
        default={"full": 0},
        description="From which step on each of the world's lessons is given. The newest makes half of a step, and "
        "those before it the rest, so that nothing is forgotten.",
    )
    env: EnvConfig = EnvConfig()
    skills: str | None = Field(
        default=None,
        description="The library that the real tasks are tried with; null: the installed one with the world's name.",
    )
    model: ModelConfig = ModelConfig()
    vision: VisionConfig | None = Field(
        default=None, description="Eyes for a policy that has none; what `context` draws is then read with them."
    )
    context: ContextConfig = Field(
        default=ContextConfig(style="plain"), description="How pages and turns are shown, as in a run's recipe."
    )
    init: str | None = Field(
        default=None,
        description="A policy to go on from (`imprint-tiny`, a folder) in place of random weights; `model` is its own.",
    )
    learner: LearnerConfig = LearnerConfig(lr=2e-3, warmup_steps=50, decay="linear")
    blindfold: int = Field(
        default=0,
        ge=0,
        description="First steps, in which a picture's tokens are the sums of its words, and nothing is seen.",
    )
    see: int = Field(default=0, ge=0, description="Steps after these, in which the eyes alone learn to give such sums.")
    see_tokens: int = Field(default=1000, ge=100, description="Tokens of pictures per such step.")
    see_evenly: bool = Field(
        default=False,
        description="Every other of these pictures holds words drawn evenly from all of the world's language, the rare "
        "as often as the frequent: none is guessed, and none is left out.",
    )
    drawn_history: int | None = Field(
        default=None,
        ge=0,
        description="From which step on every other demonstration is shown with its history drawn as well; null: none.",
    )
    aloud: int = Field(default=0, ge=0, description="Pictures in every step of which parts are to be said.")
    recite: int = Field(
        default=0, ge=0, description="First steps, in which words in random order are to be said again: to look back."
    )
    recite_tokens: int = Field(default=4000, ge=100, description="Tokens per such step.")
    observation_weight: float = Field(
        default=0.1, ge=0, description="Weight of predicting what the world answers, beside the commands' 1."
    )
    show_interval: int = Field(default=250, ge=1, description="Steps between two looks at the real tasks.")
    show_tasks: int = Field(default=60, ge=1)
    threads: int | None = Field(default=None, ge=1)


def train_base(recipe: PretrainRecipe, library: SkillLibrary, out: Path, progress: Progress) -> Policy:
    """Pre-train and save the policy in `out` (Hugging Face layout), with its figures in `<out>.jsonl` beside it.

    Raises:
        RecipeError: the world makes no demonstrations, or a lesson is unknown.
        PolicyError: `init` cannot be loaded.
        CheckpointError: something that is no model lies where it is to go.
    """
    out = out.resolve()
    log = out.with_name(out.name + ".jsonl")
    _refuse_foreign(out, log)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    world = make_world(recipe.env.name, **recipe.env.options)
    if not isinstance(world, DreamWorld):
        raise RecipeError(
            f"the world {world.name!r} makes no demonstrations",
            key="env.name",
            hint="use a world that has what `imprint.envs.base.DreamWorld` asks for (docs/manual/worlds.md)",
        )
    unknown = sorted(set(recipe.lessons) - set(world.lessons))
    if unknown or 0 not in recipe.lessons.values():
        raise RecipeError(
            f"no lesson is called {unknown[0]!r}" if unknown else "no lesson starts at step 0",
            key="lessons",
            hint=f"give a first step to some of: {', '.join(world.lessons)}",
        )
    if recipe.drawn_history is not None and not recipe.context.draws:
        raise RecipeError(
            "a history is drawn beside contexts that draw something",
            key="drawn_history",
            hint="set context.skills to image, or drawn_history to null",
        )
    with TemporaryDirectory() as scratch:
        policy = _first_policy(recipe, world, library, Path(scratch))
    rollout = rollout_for(policy, world, recipe.context)
    _recite(recipe, world, policy, progress)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    school = _School(recipe, world, rollout, library, out, log, progress)
    if isinstance(rollout.context, VisualContext):
        if recipe.blindfold:
            with blindfolded(policy, rollout.context.renderer):
                school.teach(range(recipe.blindfold), save=False)
            school.save()  # the eyes know nothing yet
        if recipe.see:
            numbers = teach_eyes(
                recipe, language_of(world, cued=True)[HELD_OUT:], rollout.context.renderer, policy, progress
            )
            school.show(recipe.blindfold, numbers)
        school.teach(range(recipe.blindfold, recipe.steps))
    else:
        school.teach(range(recipe.steps))
    return policy


class _School:
    """The lessons, and the looks at the real tasks between them."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        world: DreamWorld,
        rollout: Rollout,
        library: SkillLibrary,
        out: Path,
        log: Path,
        progress: Progress,
    ) -> None:
        self.recipe, self.world, self.library, self.out, self.log = recipe, world, library, out, log
        self.policy, self.context, self.progress = rollout.policy, rollout.context, progress
        rollouts = {"": rollout}
        if recipe.drawn_history is not None:
            config = recipe.context.model_copy(update={"history": "image"})
            rollouts["drawn_history/"] = rollout_for(self.policy, world, config)
        self.contexts = [one.context for one in rollouts.values()]
        self.evaluators = {
            name: Evaluator(one, library, Sampling(0.4, 24), recipe.seed) for name, one in rollouts.items()
        }
        texts = language_of(world) if recipe.context.draws else []
        self.texts, self.unseen = texts[HELD_OUT:], texts[:HELD_OUT]

    def teach(self, steps: range, *, save: bool = True) -> None:
        """Give the lessons of these steps, with a schedule of the learning rate of their own."""
        recipe = self.recipe
        learner = Learner(self.policy, recipe.learner, total_steps=len(steps))
        self.progress.begin(len(steps))
        for step in steps:
            numbers = learner.imitate(self._samples(step))
            if (step + 1) % recipe.show_interval == 0 or step + 1 == steps.stop:
                self.show(step + 1, numbers, save=save)
            self.progress.advance(f"nll {numbers['loss/nll']:.3f}")

    def _samples(self, step: int) -> list[Sample]:
        recipe, context = self.recipe, self.context
        demos = [
            self.world.demonstration(derive_seed(recipe.seed, "dream", step, index), lesson=lesson)
            for index, lesson in enumerate(lessons_of(recipe, step))
        ]
        samples = [
            sample
            for index, demo in enumerate(demos)
            if demo is not None
            for sample in demonstration_samples(demo, self._context_of(step, index), recipe.observation_weight)
        ]
        if isinstance(context, VisualContext) and recipe.aloud:
            samples += said_aloud(context, self.texts, recipe.aloud, derive_seed(recipe.seed, "aloud", step))
        return samples

    def _context_of(self, step: int, index: int) -> Context:
        """Pairs of demonstrations alternate: of the newest lesson and of another one each (`lessons_of`)."""
        start = self.recipe.drawn_history
        return self.contexts[index // 2 % 2 if start is not None and step >= start else 0]

    def show(self, step: int, numbers: dict[str, float], *, save: bool = True) -> None:
        """Try the real tasks, with the page and without; keep the policy, and the figures."""
        if save:
            self.save()
        shares = {key: share for name in self.evaluators for key, share in self._tried(name).items()}
        read = reading(self.context, self.unseen) if isinstance(self.context, VisualContext) else {}
        append_jsonl(self.log, [{"step": step, **numbers, **shares, **read}])
        self.progress.note(f"step {step}: {_told(numbers)}; success on real tasks, never shown: {_told(shares)}")

    def _tried(self, name: str) -> dict[str, float]:
        """The shares of the real tasks that are solved, with the page and without."""
        evaluator = self.evaluators[name]
        evaluator.forget()
        tasks = list(self.world.tasks("validation"))[: self.recipe.show_tasks]
        arms = evaluator.paired(tasks, self.library.names)
        return {
            f"success/{name}{arm}": sum(e.success for e in episodes) / len(episodes)
            for arm, episodes in zip(("with", "without"), arms, strict=True)
        }

    def save(self) -> None:
        with atomic_folder(self.out) as folder:
            self.policy.save(folder)


def _told(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name.partition('/')[2] or name} {value:.3g}" for name, value in numbers.items())


def _refuse_foreign(out: Path, log: Path) -> None:
    is_model = (out / "config.json").is_file()
    if not is_model and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise CheckpointError("is there and is no model, so it is not replaced", where=out, hint="choose another --out")
    if not is_model and log.exists():
        raise CheckpointError("is there, and its model is not", where=log, hint="move it, or choose another --out")


def lessons_of(recipe: PretrainRecipe, step: int) -> list[str]:
    """Which lesson each demonstration of a step comes from: every other from the newest, the rest from all."""
    begun = [name for start, name in sorted((start, name) for name, start in recipe.lessons.items()) if start <= step]
    return [begun[-1] if index % 2 == 0 else begun[index // 2 % len(begun)] for index in range(recipe.demos)]


def _recite(recipe: PretrainRecipe, world: DreamWorld, policy: Policy, progress: Progress) -> None:
    """Teach to say again what was said: words of the world in random order, a few at first, and more as it succeeds.

    Every token is something to look up, where an episode has a handful: the heads that find a thing in the context
    form in minutes here, and in hours by episodes alone.
    """
    if not recipe.recite:
        return
    learner = Learner(policy, recipe.learner, total_steps=recipe.recite)
    dice = random.Random(f"recite/{recipe.seed}")
    texts = islice(world.language(), 2000)
    words = sorted({token for text in texts for token in policy.encode(text)})
    (pause,) = policy.encode("\n")
    longest = 10.0
    progress.begin(recipe.recite)
    for _ in range(recipe.recite):
        samples = []
        for _ in range(min(256, int(recipe.recite_tokens / longest))):
            said = [dice.choice(words) for _ in range(dice.randint(4, int(longest)))]
            weights = [0.0] * (len(said) + 1) + [1.0] * len(said)
            samples.append(Sample.imitation((dice.choice(words),), (*said, pause, *said), weights))
        nll = learner.imitate(samples)["loss/nll"]
        if nll < 0.6:
            longest = min(80.0, longest * 1.04)
        progress.advance(f"to say {int(longest)} words again: nll {nll:.3f}")


def new_policy(recipe: PretrainRecipe, world: DreamWorld, library: SkillLibrary) -> Policy:
    """A tokenizer trained on the world's language (and the library's words), and random weights."""
    texts = [*world.language(), *(f"{s.name}\n{s.description}\n{s.body}" for s in library.skills)]
    tokenizer = train_tokenizer(texts, recipe.model.vocab_size, recipe.model.max_context, world.phrases)
    model = build_tiny(
        len(tokenizer),
        width=recipe.model.width,
        layers=recipe.model.layers,
        heads=recipe.model.heads,
        max_context=recipe.model.max_context,
        seed=recipe.seed,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )
    return Policy(model, tokenizer, recipe.name)


def _first_policy(recipe: PretrainRecipe, world: DreamWorld, library: SkillLibrary, scratch: Path) -> Policy:
    """What the recipe starts from: weights that are there or random ones, given eyes where it says so."""
    if recipe.init is None:
        policy = new_policy(recipe, world, library)
    else:
        sees = recipe.context.draws and recipe.vision is None
        policy = Policy.load(recipe.init, device="cpu", pictures=sees)
    return policy if recipe.vision is None else give_eyes(policy, recipe.vision, scratch, recipe.seed)
