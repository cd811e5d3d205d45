"""`imprint skills find`: the skills of a library that fit a question."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.console import Folder, Json, Lenient, console, emit, grid, say

if TYPE_CHECKING:
    from imprint.skills.find import Embedder


def find(
    query: Annotated[str, typer.Argument(help="What the skill should be about, in your words.")],
    folder: Folder = "household",
    k: Annotated[int, typer.Option("-k", min=1, help="How many to show.")] = 5,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Re-rank by meaning with this embedding model: a sentence-transformers folder or hub name "
            "(needs `imprint[find]`), or with --endpoint a served model's name.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="An OpenAI-compatible server that has the embedding model.", show_default=False
        ),
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The environment variable with the server's key.", show_default=False),
    ] = None,
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """Find skills by what they are about: BM25 over names, descriptions and pages.

    Example: `imprint skills find "warm up food" my-skills`
    """
    from imprint.skills.find import SkillIndex
    from imprint.skills.library import load_library

    library = load_library(folder, lenient=lenient)
    hits = SkillIndex(library.skills, _embedder(rerank, endpoint, key_env)).find(query, k)
    if as_json:
        rows = [{"skill": hit.skill.name, "score": hit.score, "description": hit.skill.description} for hit in hits]
        emit(json.dumps(rows, indent=1) + "\n")
    elif not hits:
        say(f"none of the {len(library)} skills shares a word with this question")
    else:
        cells = [[hit.skill.name, _first(hit.skill.description), f"{hit.score:.3f}"] for hit in hits]
        console().print(
            grid(f"{len(hits)} of {len(library)} skills", ["skill", "description", "score"], cells, words=2)
        )


def _embedder(model: str | None, endpoint: str | None, key_env: str | None) -> Embedder | None:
    from imprint.errors import RecipeError

    if model is None:
        if endpoint is not None:
            raise RecipeError("needs a model's name", key="--endpoint", hint="add --rerank MODEL")
        return None
    from imprint.models.embed import LocalEmbedder, ServedEmbedder
    from imprint.models.served.config import EndpointConfig
    from imprint.recipe import validated

    if endpoint is None:
        return LocalEmbedder(model)
    settings = {"base_url": endpoint, "api_key_env": key_env}
    return ServedEmbedder(validated(EndpointConfig, settings, "--endpoint"), model)


def _first(text: str, longest: int = 160) -> str:
    """The beginning of a description, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
