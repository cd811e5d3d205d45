"""The settings of the context: plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imprint.errors import RecipeError

Colour = tuple[int, int, int]  # red, green, blue
LINE, ANSWER = 24, 512  # tokens of the longest response: a command, or a chat answer with its thoughts
SMALLEST = 28  # pixels a side: one visual token of the models that Imprint was made for


class ImageConfig(BaseModel):
    """How text is drawn. The defaults are SKILL0's for ALFWorld (arXiv 2604.02268, appendix E)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=392, ge=SMALLEST, le=4096, description="Pixels, less the padding.")
    font_size: int = Field(default=10, ge=6, le=64, description="Pixels.")
    line_spacing: float = Field(default=1.2, ge=1.0, le=4.0, description="Height of a row, in font sizes.")
    padding: int = Field(default=5, ge=0, le=256, description="White pixels around, added after compression.")
    height_step: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="White below fills the height up to a multiple of this. Models round to multiples of their tokens' "
        "side (Qwen2.5-VL 28), and scale a picture of another height.",
    )
    marks: dict[str, Colour] = Field(
        default={"[Observation]": (0, 0, 255), "[Action]": (255, 0, 0)},
        description="Literal strings and the colour (red, green, blue) in which they are drawn.",
    )
    max_pixels: int = Field(
        default=2048 * 2048,
        ge=SMALLEST * SMALLEST,
        description="Of the whole picture with its padding; a larger one is scaled down.",
    )


class ContextConfig(BaseModel):
    """The recipe's `context` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: Literal["auto", "plain", "chat"] = Field(
        default="auto",
        description="plain: a transcript, a command a line; chat: the chat template; auto: chat if there is one.",
    )
    show_admissible: bool = Field(
        default=False, description="List the possible commands at every turn, as published prompts do (many tokens)."
    )
    skills: Literal["text", "image"] = Field(default="text", description="How the text of the skills is shown.")
    history: Literal["text", "image"] = Field(
        default="text",
        description="How the turns so far are shown. With an image anywhere, every turn has a prompt of its own.",
    )
    image: ImageConfig = ImageConfig()
    compression: bool = Field(
        default=False, description="Ask the policy by how much its next picture is to be compressed (1 to 5)."
    )

    @property
    def draws(self) -> bool:
        """Whether there is a picture in the context."""
        return "image" in (self.skills, self.history)


def check_pictures(context: ContextConfig, *, served: bool) -> None:
    """Check that a recipe's settings of pictures have an effect.

    Args:
        served: the model is behind an endpoint.

    Raises:
        RecipeError: there is no picture whose compression could be chosen, or a server would be sent some.
    """
    if context.compression and not context.draws:
        raise RecipeError(
            "there is no picture to compress",
            key="context.compression",
            hint="set context.history: image (or context.skills), or context.compression: false",
        )
    if context.draws and served:
        raise RecipeError(
            "pictures are not sent to a model behind an endpoint",
            key="context.skills" if context.skills == "image" else "context.history",
            hint="set it to text, or take a local vision-language model and no endpoint",
        )
