"""The options that name a judge: a model that reads skills too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from imprint.security.judge import Judge

JudgeEndpoint = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="An OpenAI-compatible server whose model reads each skill too; it can add findings, never remove any. "
        "Needs `pip install 'imprint[openai]'`.",
        show_default=False,
    ),
]
JudgeModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="The judge's name at the endpoint.", show_default=False)
]
JudgeKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="The variable that holds the judge's key.", show_default=False)
]


def chosen_judge(endpoint: str | None, model: str | None, key_env: str | None) -> Judge | None:
    """The judge that the options name; None without any.

    Raises:
        typer.BadParameter: only a part of it is named.
    """
    if endpoint is None and model is None and key_env is None:
        return None
    if endpoint is None or model is None:
        raise typer.BadParameter("a judge needs --judge-endpoint and --judge-model")
    from imprint.security.judge import Judge

    return Judge(endpoint, model, key_env)
