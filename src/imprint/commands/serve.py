"""`imprint search serve`: a search engine behind HTTP."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from imprint.commands.console import say


def serve(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with an index.")],
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any free one.")] = 8000,
    topk: Annotated[int, typer.Option(min=1, help="At most so many passages a query.")] = 100,
    queries: Annotated[int, typer.Option(min=1, help="At most so many queries a request.")] = 256,
    characters: Annotated[int, typer.Option(min=1, help="At most so many characters a query.")] = 8_000,
    body: Annotated[int, typer.Option(min=1, help="At most so many bytes a request.")] = 2 << 20,
    waiting: Annotated[int, typer.Option(min=1, help="Queries that wait; more are refused with 503.")] = 4_096,
    batch: Annotated[int, typer.Option(min=1, help="At most so many queries in one search.")] = 64,
    device: Annotated[str, typer.Option(help="Where a dense index's encoder runs.")] = "cpu",
    window: Annotated[float, typer.Option(min=0, help="Milliseconds to wait for queries to search with.")] = 2.0,
) -> None:
    """Serve an index as Search-R1's server does: `POST /retrieve`. Ctrl-C answers what was asked and stops.

    Example: `imprint search serve my-index --port 8000`
    """
    from imprint.errors import RecipeError
    from imprint.retrieval.index import read_facts
    from imprint.retrieval.open import open_retriever

    try:
        import uvicorn

        from imprint.retrieval.server import Limits, make_app
    except ImportError as error:
        raise RecipeError(
            f"a search server needs {error.name}, which is not installed", hint="pip install 'imprint[search]'"
        ) from error
    facts = read_facts(folder)
    limits = Limits(
        topk=topk,
        queries=queries,
        characters=characters,
        body=body,
        waiting=waiting,
        batch=batch,
        window=window / 1000,
    )
    facts_of_index = {"engine": facts.kind, "passages": facts.passages, "corpus": facts.corpus}
    app = make_app(open_retriever(folder, device=device), limits, facts_of_index)
    with listening(host, port) as listener:
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=30)
        server: Any = uvicorn.Server(config)
        shown = f"[{host}]" if ":" in host else host
        say(f"{facts.passages:,} passages ({facts.kind}) at http://{shown}:{listener.getsockname()[1]}/retrieve")
        with suppress(KeyboardInterrupt):  # uvicorn ends its work and then passes on the signal that it was ended by
            server.run(sockets=[listener])
    say("stopped")


def listening(host: str, port: int) -> socket.socket:
    """A socket of ours, so that the port is known before the server starts."""
    from imprint.errors import RetrievalError

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise RetrievalError(
            f"cannot listen at {host}:{port}: {error.strerror or error}", hint="give another --host or --port"
        ) from error
