"""`imprint play`: act in a world yourself, or watch a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.console import Sets, Trusted, say
from imprint.commands.skills import page
from imprint.commands.subject import Subject
from imprint.errors import RecipeError

if TYPE_CHECKING:
    from imprint.context.config import ContextConfig
    from imprint.engine.base import Engine
    from imprint.envs.base import World
    from imprint.recipe import Recipe
    from imprint.skills.skill import Skill
    from imprint.types import Episode, Task

HELP = "`?` lists what is possible now, `skills` shows their text, `quit` leaves."


def play(
    task: Annotated[str | None, typer.Option(help="A task's id, as `imprint envs show` prints it.")] = None,
    family: Annotated[str | None, typer.Option(help="A task of this family, chosen by the seed.")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Which tasks.  [default: test; with --games valid_seen]", show_default=False),
    ] = None,
    games: Annotated[Path | None, typer.Option(help="A folder of real or made games.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option(help="Watch this model or run play, e.g. imprint-tiny.  [default: you play]")
    ] = None,
    skills: Annotated[bool, typer.Option("--skills/--no-skills", help="Whether the model reads the skills.")] = True,
    recipe: Annotated[Path | None, typer.Option(help="World and skills.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Chooses the task, and the model's draws.")] = 0,
    auto: Annotated[bool, typer.Option("--auto", help="Do not wait for Enter between a model's turns.")] = False,
    show_image: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the pictures that the model saw, turn by turn.", show_default=False),
    ] = None,
    changes: Sets = None,
    trust: Trusted = None,
) -> None:
    """Play a task at a prompt, or watch a model play it turn by turn.

    Example: `imprint play --family pick_heat_then_place_in_recep`

    Watch: `imprint play --model imprint-tiny --no-skills`

    What a vision-language model saw: `imprint play --model runs/seeing --auto --show-image pictures`
    """
    overrides = [*(changes or []), f"seed={seed}"]
    if games is not None:
        overrides += [f"env.games={json.dumps(str(games))}", "env.splits=as-stored"]
    if show_image is not None and model is None:
        raise RecipeError("no model sees pictures where you play", key="--show-image", hint="give --model too")
    subject = Subject(model or "imprint-tiny", recipe, overrides, trust=trust)
    if show_image is not None:
        check_pictures(show_image, subject.recipe.context, skills=skills)
    chosen_split = split or ("test" if games is None else "valid_seen")
    if model is None:
        from imprint.envs.base import make_ready_world

        world = make_ready_world(subject.recipe.env.name, **subject.recipe.env.options)
        play_yourself(world, choose_task(world, chosen_split, task, family, seed), seed, subject.recipe)
        return
    from imprint.engine import make_engine

    engine = make_engine(subject.recipe, subject.model, subject.trust)
    chosen = choose_task(engine.world, chosen_split, task, family, seed)
    watch(engine, chosen, seed, skills=skills, auto=auto, pictures=show_image)


def choose_task(world: World, split: str, task_id: str | None, family: str | None, seed: int) -> Task:
    """The task of this id, or one of the family (of any, if None) that the seed chooses.

    Raises:
        RecipeError: there is none.
    """
    tasks = world.tasks(split)
    fitting = [task for task in tasks if task_id in (None, task.id) and family in (None, task.category)]
    if not fitting:
        named = [task for task in tasks if task.id == task_id]
        if named:
            raise RecipeError(
                f"task {task_id!r} is of the family {named[0].category!r}", key="--family", hint="leave out --family"
            )
        wanted = f"called {task_id!r}" if task_id is not None else f"of the family {family!r}"
        examples = ", ".join(task.id for task in tasks[:2]) if task_id is not None else ", ".join(world.categories)
        raise RecipeError(
            f"no task of {split!r} is {wanted}",
            key="--task" if task_id else "--family",
            hint=f"try: {examples}",
        )
    return fitting[seed % len(fitting)]


def play_yourself(world: World, task: Task, seed: int, recipe: Recipe) -> None:
    """A prompt until the episode ends or the player leaves."""
    from imprint.envs.checked import CheckedEnvironment
    from imprint.envs.stepping import settled

    environment = CheckedEnvironment(world)
    result = settled(environment.reset(task, seed))
    say(f"{task.id} ({task.category}), at most {world.max_turns} turns. {HELP}\n\n{result.observation}")
    turns = 0
    while not (result.done or result.success):
        command = _ask("\n> ")
        if command in (None, "quit", "exit"):
            say(f"left after {turns} turns")
            return
        if command == "?":
            say("\n".join(result.admissible) or "this world does not say what is possible")
        elif command == "skills":
            say("\n".join(page(skill) for skill in _serving(recipe, task)) or "no skill serves this task")
        elif command:
            result = settled(environment.step(command))
            turns += 1
            say(result.observation)
    say(f"\n{'solved' if result.success else 'not solved'} in {turns} turns")


def watch(engine: Engine, task: Task, seed: int, *, skills: bool, auto: bool, pictures: Path | None = None) -> None:
    """Let the model play one episode, and show it turn by turn; what it saw goes into the folder `pictures`."""
    from imprint.rollout.tokens import Request, derive_seed

    shown = engine.library.serving(task.category) if skills else ()
    request = Request(task, derive_seed(engine.recipe.seed, "evaluate", task.id), tuple(shown))
    (episode,) = engine.rollout.play([request], engine.evaluator.sampling)
    if pictures is not None:
        keep_pictures(episode, pictures)
    show_episode(episode, auto=auto)


def check_pictures(folder: Path, context: ContextConfig, *, skills: bool) -> None:
    """Before anything is loaded: whether there will be pictures, and whether they can be kept in `folder`.

    Raises:
        RecipeError: nothing is drawn, or something else than a folder is there.
    """
    if context.history != "image" and not (skills and context.skills == "image"):
        raise RecipeError(
            "there are no pictures in the context",
            key="--show-image",
            hint="--set context.history=image (or context.skills), with a vision-language model",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(
            f"the folder cannot be made: {error.strerror or error}",
            where=folder,
            key="--show-image",
            hint="name a new folder",
        ) from error


def keep_pictures(episode: Episode, folder: Path) -> None:
    """Write the pictures of an episode as turn-01.png, turn-02.png, ..."""
    from PIL import Image

    seen = [episode.pictures] if episode.pictures else [view.pictures for view in episode.views]
    for number, pictures in enumerate(seen, start=1):
        for picture in pictures:
            Image.fromarray(picture.pixels).save(folder / f"turn-{number:02}.png")
    drawn = sum(map(len, seen))
    say(f"the pictures are in {folder}" if drawn else "no picture was drawn: there was nothing to draw yet")


def show_episode(episode: Episode, *, auto: bool) -> None:
    """What the model read (skills by name, tokens), its command and the answer, one turn after the other."""
    reads = ", ".join(episode.skills) or "no skill"
    say(f"{episode.task.id} ({episode.task.category})\nin the context: {reads}\n\n{episode.first_observation}")
    for number, turn in enumerate(episode.turns, start=1):
        if not auto and _ask("[Enter: next turn, q: leave] ") in (None, "q", "quit"):
            return
        spoken = turn.action if turn.action == turn.response.strip() else f"{turn.action}\n  said: {turn.response}"
        mark = "" if turn.valid else "  (not understood)"
        as_text = f" ({turn.text_tokens:,} as text)" if turn.text_tokens else ""
        say(f"\n{number}. read {turn.context_tokens:,} tokens{as_text}\n> {spoken}{mark}\n{turn.observation}")
    say(f"\n{'solved' if episode.success else f'not solved ({episode.stop})'} in {len(episode.turns)} turns")


def _serving(recipe: Recipe, task: Task) -> Sequence[Skill]:
    from imprint.skills.library import load_library

    return load_library(recipe.skills, lenient=recipe.lenient).serving(task.category)


def _ask(prompt: str) -> str | None:
    """A line of input without the spaces around it; None at its end."""
    try:
        return input(prompt).strip()
    except EOFError:
        return None
