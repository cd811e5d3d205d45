"""Play episodes with a model behind an endpoint: one growing conversation per episode, many at once.

A finished episode is kept at once and never asked for again. What the store gives back is not believed: its answers
are played through the world once more, which costs nothing, and count only if the same happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from imprint.context.chat import ChatContext
from imprint.envs.base import FingerprintedWorld, World
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled
from imprint.errors import ImprintError, PolicyError
from imprint.models.sampling import Sampling
from imprint.models.served.endpoint import Connection, Endpoint
from imprint.models.served.server import ContextFullError, Reply
from imprint.models.served.usage import Usage
from imprint.rollout.base import Request, RunningEpisode, derive_seed
from imprint.rollout.store import EpisodeStore, episode_key
from imprint.types import Episode, StopReason, Task

SILENCE = "(no answer)"  # what an empty answer leaves in the conversation: some servers refuse an empty message
Finished = Callable[[int, Episode], None]


@dataclass(slots=True)
class _RunningChat(RunningEpisode):
    """An episode in flight as the server sees it."""

    messages: list[dict[str, str]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


class ChatRollout:
    """Plays requests with one served model in one world."""

    def __init__(self, endpoint: Endpoint, world: World, context: ChatContext, store: EpisodeStore) -> None:
        self.endpoint = endpoint
        self.world = world
        self.context = context
        self.store = store
        self._templates = context.sources()

    def play(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Callable[[int], None] | None = None,
    ) -> list[Episode]:
        """Play all `requests`, in their order. `progress` is called with each finished episode's turns.

        Raises:
            PolicyError: the server cannot be reached, refuses, or gives no answer however often it is asked. The
                episodes that were finished are in the store.
        """
        episodes: dict[int, Episode] = {}

        def finish(place: int, episode: Episode) -> None:
            episodes[place] = episode
            if progress is not None:
                progress(len(episode.turns))

        for place, request in enumerate(requests):
            known = self._recall(request, sampling)
            if known is not None:
                finish(place, known)
        missing = {place: request for place, request in enumerate(requests) if place not in episodes}
        if missing:
            try:
                asyncio.run(self._play_missing(missing, sampling, finish))
            except BaseExceptionGroup as group:  # several episodes failed at once, mostly for one reason
                raise _first_of(group) from group
        return [episodes[place] for place in range(len(requests))]

    async def _play_missing(self, missing: dict[int, Request], sampling: Sampling, finish: Finished) -> None:
        seats = asyncio.Semaphore(self.endpoint.config.concurrency)

        async def play(place: int, request: Request) -> None:
            async with seats:
                episode, usage = await self._play_one(connection, request, sampling)
            self.store.add(self._key(request, sampling), episode, usage)
            finish(place, episode)

        async with self.endpoint.connect() as connection, asyncio.TaskGroup() as group:
            for place, request in missing.items():
                group.create_task(play(place, request))

    async def _play_one(self, connection: Connection, request: Request, sampling: Sampling) -> tuple[Episode, Usage]:
        conversation = await self._open(request)
        text = self.context.start(request.skills, conversation.first, request.exemplars)
        while conversation.stop is StopReason.RUNNING:
            conversation.messages.append({"role": "user", "content": text})
            try:
                seed = derive_seed(request.seed, len(conversation.turns))
                reply = await connection.complete(conversation.messages, sampling, seed)
            except ContextFullError as error:
                if not conversation.turns:
                    raise self._does_not_fit(request, error) from error
                conversation.stop = StopReason.CONTEXT_LIMIT
                break
            text = await self._take_turn(conversation, reply)
        conversation.cached_tokens = conversation.usage.cached_tokens
        return conversation.close(), conversation.usage

    async def _open(self, request: Request) -> _RunningChat:
        environment = CheckedEnvironment(self.world)
        first = environment.reset(request.task, request.seed)
        return _RunningChat(request, environment, await first if isinstance(first, Awaitable) else first)

    async def _take_turn(self, conversation: _RunningChat, reply: Reply) -> str:
        """Act on one answer, and give the message that follows it."""
        action, well_formed = self.context.parse(reply.text)
        usage, start = reply.usage, conversation.usage.completion_tokens
        conversation.usage.add(usage)
        if conversation.turns and not usage.estimated:
            self.endpoint.meter.shrunk += usage.prompt_tokens < conversation.turns[-1].context_tokens
        pending = conversation.environment.step(action)
        result = await pending if isinstance(pending, Awaitable) else pending
        conversation.take(
            result,
            reply.text,
            action,
            well_formed=well_formed,
            read=usage.prompt_tokens,
            start=start,
            stop=start + usage.completion_tokens,
        )
        answer = reply.answer if reply.answer.strip() else SILENCE
        conversation.messages.append({"role": "assistant", "content": answer})
        return self.context.follow(result)

    def _recall(self, request: Request, sampling: Sampling) -> Episode | None:
        """The stored episode of `request`, if the world still answers as it did then."""
        stored = self.store.get(self._key(request, sampling))
        if stored is None:
            return None
        usage = stored[1]
        # The task's source may be another path.
        episode = replace(stored[0], task=request.task, cached_tokens=usage.cached_tokens)
        if self._replay(request, episode) != episode:
            self.endpoint.meter.stale += 1
            return None
        self.endpoint.meter.reuse(usage)
        return episode

    def _replay(self, request: Request, episode: Episode) -> Episode:
        """What the answers of `episode` lead to now."""
        environment = CheckedEnvironment(self.world)
        live = RunningEpisode(request, environment, settled(environment.reset(request.task, request.seed)))
        for turn in episode.turns:
            if live.stop is not StopReason.RUNNING:
                break
            action, well_formed = self.context.parse(turn.response)
            live.take(
                settled(environment.step(action)),
                turn.response,
                action,
                well_formed=well_formed,
                read=turn.context_tokens,
                start=turn.start,
                stop=turn.stop,
            )
        if live.stop is StopReason.RUNNING and episode.stop is StopReason.CONTEXT_LIMIT:
            live.stop = StopReason.CONTEXT_LIMIT
        return live.close()

    def _key(self, request: Request, sampling: Sampling) -> str:
        task, config = request.task, self.endpoint.config
        exemplars = self.context.exemplars(request.exemplars)
        return episode_key(
            server=config.base_url,
            model=self.endpoint.model,
            extra=config.extra,
            sampling=asdict(sampling),
            templates=self._templates,
            admissible=self.context.config.show_admissible,
            skills=[[skill.name, skill.description, skill.body] for skill in request.skills],
            task=task.id,
            game=_content(self.world, task),
            turns=self.world.max_turns,
            seed=request.seed,
            **({"exemplars": exemplars} if exemplars else {}),
        )

    def _does_not_fit(self, request: Request, error: ContextFullError) -> PolicyError:
        return PolicyError(
            f"task {request.task.id!r} with {request.shown.describe()} does not fit the model's context: {error}",
            where=self.endpoint.model,
            key="model",
            hint=f"use a model with a longer context, or {request.shorter}",
        )


def _content(world: World, task: Task) -> str:
    """What an episode of `task` depends on, by its world, else where the task comes from."""
    return str(world.fingerprint(task)) if isinstance(world, FingerprintedWorld) else task.source


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error for the user, if there is one; else all of them."""
    ours = group.subgroup(ImprintError)
    one: BaseException = group if ours is None else ours
    while ours is not None and isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one
