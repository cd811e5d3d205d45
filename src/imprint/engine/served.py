"""The endpoint engine: a model that a server has, asked over HTTP. It plays and is measured; it does not learn."""

from __future__ import annotations

from pathlib import Path

from imprint.context.chat import ChatContext
from imprint.context.config import ANSWER
from imprint.engine.base import Engine
from imprint.envs.base import own_format
from imprint.errors import RecipeError
from imprint.models.served.endpoint import Endpoint
from imprint.recipe import Recipe
from imprint.rollout.chat import ChatRollout
from imprint.rollout.store import EpisodeStore
from imprint.security.vetting import Override
from imprint.skills.library import SkillLibrary


class EndpointEngine(Engine):
    """World, skills, rollout and evaluator of one recipe whose model is behind `endpoint`.

    Args:
        model: in place of the recipe's model.
        trust: skills that are used whatever was found in them.
        library: in place of the recipe's.

    Raises:
        ImprintError: any part of the recipe that cannot be had; the server is asked when the first episode begins.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: str | Path | None = None,
        trust: Override | None = None,
        library: SkillLibrary | None = None,
    ) -> None:
        super().__init__(recipe, model, trust, library)
        if recipe.endpoint is None:
            raise RecipeError("there is no endpoint", key="endpoint", hint="set endpoint.base_url")
        self.context = ChatContext(recipe.context, *own_format(self.world))
        self.endpoint = Endpoint(recipe.endpoint, str(model or recipe.model))
        self.meter = self.endpoint.meter
        self.store = EpisodeStore(recipe.endpoint.store, recipe.endpoint.base_url, self.endpoint.model)
        self.kept_in = self.store.path
        if self.store.note:
            self.meter.notes.append(self.store.note)
        self._use(ChatRollout(self.endpoint, self.world, self.context, self.store), ANSWER)
