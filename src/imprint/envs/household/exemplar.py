"""Exemplars: household games solved from the text observations and the recipe alone."""

from __future__ import annotations

from imprint.envs.household.engine import GameEngine
from imprint.envs.household.game import Game
from imprint.envs.household.random_rules import FLAG_OF, TaskRecipe
from imprint.envs.household.teacher import teacher_of
from imprint.skills.skill import EVERY_TASK
from imprint.types import Exemplar, Task, WorkedStep


def work_out(task: Task, game: Game, max_turns: int) -> Exemplar | None:
    """`game` played by the scripted teacher with the real recipe; None if it did not succeed.

    The search is what every task asks for (`*`); from the object in hand on, a step is one of the task's category.
    """
    engine = GameEngine(game, max_turns=max_turns)
    first = result = engine.reset()
    teacher = teacher_of(game, real_recipe(game), first)
    steps = []
    while not result.done:
        held = teacher.holding is not None
        command = teacher.next_command()
        if command is None:
            return None
        written = _as_written(command, game.put_verb)
        result = engine.step(written)
        teacher.observe(command, result.observation)
        serves = task.category if held or teacher.holding is not None else EVERY_TASK
        steps.append(WorkedStep(written, result.observation, serves))
    return Exemplar(task, first.observation, tuple(steps)) if result.success else None


def real_recipe(game: Game) -> TaskRecipe:
    """The recipe of `game` under its own rules."""
    kinds = [receptacle.type for receptacle in game.receptacles]
    treatments = []
    for verb, flag in FLAG_OF.items():
        tools = [kind for kind in kinds if kind in getattr(game.rules, verb)]
        if flag in game.goal.require and tools:
            treatments.append((verb, tools[0]))
    return TaskRecipe(tuple(treatments), game.goal.count, game.goal.toggle_type)


def _as_written(command: str, put_verb: str) -> str:
    """The command in the words of the game's grammar; the scripted teacher uses `move`."""
    verb, _, rest = command.partition(" ")
    return f"put {rest.replace(' to ', ' in/on ', 1)}" if verb == "move" and put_verb == "put" else command
