"""Pre-training of a base policy: imitate demonstrations in games with random rules, which only the skill text explains.

The result acts in a world's language and follows skill text in its context; it does not know the real recipes, because
no demonstration contains one (the household's are in `envs/household/random_rules.py`).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from imprint.context.visual import VisualContext
from imprint.engine.local import rollout_for
from imprint.envs.base import PractisableWorld, TeachableWorld, make_world
from imprint.errors import CheckpointError, RecipeError
from imprint.models.local.policy import Policy
from imprint.pretrain.copying import train_copying
from imprint.pretrain.lessons import Kept, LessonTrainer
from imprint.pretrain.recipe import RENAMED_LESSONS, PretrainRecipe
from imprint.pretrain.texts import HELD_OUT, language_of
from imprint.pretrain.tiny_model import build_tiny
from imprint.pretrain.tokenizer import train_tokenizer
from imprint.pretrain.vision_lesson import oracle_vision, train_vision_encoder
from imprint.pretrain.vision_model import add_vision
from imprint.skills.library import SkillLibrary
from imprint.support.progress import Progress


def train_base(
    recipe: PretrainRecipe, library: SkillLibrary, out: Path, progress: Progress
) -> tuple[Policy, Kept | None]:
    """Pre-train and save a policy in `out` (Hugging Face layout), with its figures in `<out>.jsonl` beside it.

    Returns:
        The policy that was saved, and the evaluation that it was kept for; None if it was saved without one.

    Raises:
        RecipeError: the world makes no demonstrations, or a lesson is unknown.
        PolicyError: `init` cannot be loaded.
        CheckpointError: `out` exists and is not a model.
    """
    out = out.resolve()
    log = out.with_name(out.name + ".jsonl")
    _refuse_foreign(out, log)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    world = _teachable_world(recipe)
    recipe = _with_lessons_of(world, recipe, progress)
    with TemporaryDirectory() as scratch:
        policy = _first_policy(recipe, world, library, Path(scratch))
    rollout = rollout_for(policy, world, recipe.context)
    if recipe.copy_steps:
        steps, tokens = recipe.copy_steps, recipe.copy_tokens
        train_copying(policy, world, recipe.learner, steps=steps, tokens=tokens, seed=recipe.seed, progress=progress)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    trainer = LessonTrainer(recipe, world, rollout, library, out, log, progress)
    if isinstance(rollout.context, VisualContext):
        _train_with_pictures(trainer, rollout.context)
    else:
        trainer.train(range(recipe.steps))
    if trainer.kept is not None and trainer.kept.step < recipe.steps:
        policy = Policy.load(out, device="cpu", pictures=recipe.context.draws)
    return policy, trainer.kept


def _teachable_world(recipe: PretrainRecipe) -> TeachableWorld:
    """The recipe's world.

    Raises:
        RecipeError: it makes no demonstrations, a history is to be drawn without anything else, one schedule is given
            for the parts of a training with pictures, or the policy is to begin episodes that nobody can finish.
    """
    world = make_world(recipe.env.name, **recipe.env.options)
    if not isinstance(world, TeachableWorld):
        raise RecipeError(
            f"the world {world.name!r} makes no demonstrations",
            key="env.name",
            hint="use a world with the methods of `imprint.envs.base.TeachableWorld` (docs/manual/worlds.md)",
        )
    if recipe.drawn_history is not None and not recipe.context.draws:
        raise RecipeError(
            "a history can be drawn only beside skills that are drawn",
            key="drawn_history",
            hint="set context.skills to image, or drawn_history to null",
        )
    if recipe.schedule_steps is not None and recipe.context.draws:
        raise RecipeError(
            "a training with pictures has parts, each with a schedule of its own",
            key="schedule_steps",
            hint="set it to null",
        )
    if recipe.own_play is not None and recipe.context.draws:
        raise RecipeError(
            "no episode that a policy has begun can be finished where skills are drawn",
            key="own_play",
            hint="set it to null",
        )
    if recipe.own_play is not None and not isinstance(world, PractisableWorld):
        raise RecipeError(
            f"no episode that a policy has begun can be finished in the world {world.name!r}: it has no `practice`",
            key="own_play",
            hint="set it to null, or add the method (docs/manual/worlds.md)",
        )
    return world


def _with_lessons_of(world: TeachableWorld, recipe: PretrainRecipe, progress: Progress) -> PretrainRecipe:
    """The recipe with the world's own names of lessons.

    Raises:
        RecipeError: a lesson is unknown, or none starts at step 0.
    """
    lessons: dict[str, int] = {}
    for name, start in recipe.lessons.items():
        current = name if name in world.lessons else RENAMED_LESSONS.get(name, name)
        if current != name:
            progress.note(f"the lesson {name!r} is now called {current!r}")
        lessons[current] = start
    unknown = sorted(set(lessons) - set(world.lessons))
    if unknown or 0 not in lessons.values():
        raise RecipeError(
            f"no lesson is called {unknown[0]!r}" if unknown else "no lesson starts at step 0",
            key="lessons",
            hint=f"give a first step to some of: {', '.join(world.lessons)}",
        )
    return recipe.model_copy(update={"lessons": lessons})


def _train_with_pictures(trainer: LessonTrainer, context: VisualContext) -> None:
    """The language part on oracle embeddings, then the vision encoder, then both together."""
    recipe, policy, renderer = trainer.recipe, trainer.policy, context.renderer
    if recipe.vision_oracle_steps:
        with oracle_vision(policy, renderer):
            trainer.train(range(recipe.vision_oracle_steps), save=False)
        trainer.save()  # with an untrained vision encoder
    if recipe.vision_steps:
        numbers = train_vision_encoder(
            policy,
            renderer,
            language_of(trainer.world, cued=True)[HELD_OUT:],
            steps=recipe.vision_steps,
            tokens=recipe.vision_tokens,
            seed=recipe.seed,
            balanced=recipe.vision_uniform_words,
            progress=trainer.progress,
        )
        trainer.evaluate(recipe.vision_oracle_steps, numbers)
    trainer.train(range(recipe.vision_oracle_steps, recipe.steps))


def _refuse_foreign(out: Path, log: Path) -> None:
    is_model = (out / "config.json").is_file()
    if not is_model and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise CheckpointError("exists and is no model, so it is not replaced", where=out, hint="choose another --out")
    if not is_model and log.exists():
        raise CheckpointError("exists, but its model does not", where=log, hint="move it, or choose another --out")


def new_policy(recipe: PretrainRecipe, world: TeachableWorld, library: SkillLibrary) -> Policy:
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


def _first_policy(recipe: PretrainRecipe, world: TeachableWorld, library: SkillLibrary, scratch: Path) -> Policy:
    """The policy that training starts from: loaded or random, with a new vision encoder where the recipe has one."""
    if recipe.init is None:
        policy = new_policy(recipe, world, library)
    else:
        pictures = recipe.context.draws and recipe.vision is None
        policy = Policy.load(recipe.init, device="cpu", pictures=pictures)
    return policy if recipe.vision is None else add_vision(policy, recipe.vision, scratch, recipe.seed)
