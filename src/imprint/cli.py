"""The command line: `imprint train | eval | compare | tune | report | runs | play | skills | envs | ...`."""

from __future__ import annotations

import os
import signal
import threading
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from imprint import __version__
from imprint.commands import (
    compare,
    evaluate,
    init,
    play,
    pretrain,
    recipes,
    regimes,
    report,
    runs,
    search,
    serve_world,
    skills,
    train,
    tune,
    verify,
    worlds,
)
from imprint.commands.console import say
from imprint.errors import ImprintError
from imprint.support import plugins

TRAIN, LOOK, MAKE, PLUGINS = "Train and measure", "Look closer", "Make your own", "From other packages"
GROUP = "imprint.commands"


class Commands(TyperGroup):
    """Prints an `ImprintError` as a message (status 2), an interruption as a hint (status 130): no traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ImprintError as error:
            say(f"error: {error.describe()}", stderr=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            hint = error.args[0] if error.args else "stopped"
            say(f"\n{hint}", stderr=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Turns agent skills into model weights: "
        "a skill starts as text in the context and ends in the policy.\n\n"
        "Start with `imprint train demo`, then open the report that it writes."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"imprint {__version__}")
        raise typer.Exit


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # A job that is ended by the system or a scheduler stops as by Ctrl-C: it reports where it is, and so do its
    # children.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    # Threads that wait spin briefly, then sleep: beside other work, spinning for long slows training many times, and
    # sleeping at once slows it on an idle machine (`benchmarks/waiting.py`).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # Our own progress shows what is going on; a bar for each loading of a few megabytes hides it.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


app.command("train", rich_help_panel=TRAIN)(train.train)
app.command("eval", rich_help_panel=TRAIN)(evaluate.evaluate)
app.command("compare", rich_help_panel=TRAIN)(compare.compare)
app.command("regimes", rich_help_panel=TRAIN)(regimes.regimes)
app.command("tune", rich_help_panel=TRAIN)(tune.tune)
app.command("report", rich_help_panel=TRAIN)(report.report)
app.command("runs", rich_help_panel=LOOK)(runs.runs)
app.command("play", rich_help_panel=LOOK)(play.play)
app.add_typer(skills.app, name="skills", rich_help_panel=LOOK)
worlds.app.command("verify")(verify.verify)
worlds.app.command("serve")(serve_world.serve)
app.add_typer(worlds.app, name="envs", rich_help_panel=LOOK)
app.command("init", rich_help_panel=MAKE)(init.init)
app.add_typer(search.app, name="search", rich_help_panel=MAKE)
app.command("pretrain", rich_help_panel=MAKE)(pretrain.pretrain)
app.command("recipes", rich_help_panel=MAKE)(recipes.recipes)


def _add_plugins() -> None:
    """The commands of other packages: a function, or a typer app, for each entry point in `imprint.commands`."""
    commands, broken = plugins.load_all(GROUP)
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=PLUGINS)
        else:
            app.command(name, rich_help_panel=PLUGINS)(command)
    for name, reason in broken.items():
        say(f"note: the command {name} cannot be loaded: {reason}", stderr=True)


_add_plugins()


if __name__ == "__main__":
    app()
