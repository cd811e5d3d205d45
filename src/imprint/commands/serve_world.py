"""`imprint envs serve`: a world for OpenEnv clients."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import typer

from imprint.commands.console import say
from imprint.commands.serve import listening


def serve(
    name: Annotated[str, typer.Argument(metavar="WORLD", help="A world's name, see `imprint envs list`.")],
    host: Annotated[str, typer.Option(help="0.0.0.0 for other machines too; anyone can play then.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0: at any free port.")] = 8000,
    split: Annotated[str, typer.Option(help="Whose tasks `reset` chooses from, unless it names another.")] = "train",
    sessions: Annotated[int, typer.Option(min=1, help="Clients that can play at once.")] = 64,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option of the world, e.g. `--set size=medium`."),
    ] = None,
) -> None:
    """Serve a world as an OpenEnv environment, text in and text out, until Ctrl-C.

    Needs `pip install 'imprint[openenv]'`. Example: `imprint envs serve household --port 8000`
    """
    from imprint.envs.base import make_world
    from imprint.errors import RecipeError
    from imprint.recipe import override

    options: dict[str, object] = {}
    for change in changes or []:
        override(options, change.removeprefix("env."))
    world = make_world(name, **options)
    if not world.tasks(split):
        raise RecipeError(f"the split {split!r} is empty", key="--split", hint="choose another split")
    try:
        import uvicorn

        from imprint.envs.openenv_server import serve_world
    except ImportError as error:
        raise RecipeError(
            f"serving a world needs openenv-core: {error}", hint="pip install 'imprint[openenv]'"
        ) from error
    app = serve_world(world, split, sessions)
    with listening(host, port) as listener:
        server: Any = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
        where = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        say(f"{name}: {len(world.tasks(split)):,} tasks of {split} at {where}")
        with suppress(KeyboardInterrupt):  # uvicorn ends its work and then passes on the signal that it was ended by
            server.run(sockets=[listener])
    say("stopped")
