"""Play episodes: a batch of tasks, each in its own environment, with one growing token sequence per episode.

The sampler keeps each sequence's keys and values across turns; prompts that episodes share are read once; episodes
that have ended leave the batch. Token ids and log-probs come from the sampler and are never tokenised again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imprint.context.prompt import Context
from imprint.envs.base import Environment, World
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled_all
from imprint.errors import PolicyError
from imprint.models.sampling import Prompt, Sampled, Sampler, Sampling
from imprint.rollout.base import Request, RunningEpisode, derive_seed
from imprint.types import Episode, StepResult, StopReason

__all__ = ["Request", "TokenRollout", "derive_seed"]


@dataclass(slots=True)
class _RunningTokens(RunningEpisode):
    """An episode in flight as the sampler sees it."""

    prompt: Prompt = field(kw_only=True)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.prompt.ids) + len(self.tokens)


class TokenRollout:
    """Plays requests with one model in one world.

    Args:
        sampler: what draws the responses.
        batch: episodes in flight at once; more requests are played in several batches.
    """

    def __init__(self, sampler: Sampler, world: World, context: Context, *, batch: int = 256) -> None:
        self.sampler = sampler
        self.world = world
        self.context = context
        self.batch = batch

    def play(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Callable[[int], None] | None = None,
    ) -> list[Episode]:
        """Play all `requests`, in their order. `progress` is called with each finished episode's turns."""
        episodes: list[Episode] = []
        for start in range(0, len(requests), self.batch):
            episodes += self._play_batch(requests[start : start + self.batch], sampling, progress)
        return episodes

    def _play_batch(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None
    ) -> list[Episode]:
        environments = [CheckedEnvironment(self.world) for _ in requests]
        firsts = settled_all([e.reset(r.task, r.seed) for e, r in zip(environments, requests, strict=True)])
        opened = zip(requests, environments, firsts, strict=True)
        live = {row: self._open(*one, sampling) for row, one in enumerate(opened)}
        everyone = list(live.values())
        session = self.sampler.open(
            [episode.prompt for episode in everyone],
            [episode.request.seed for episode in everyone],
            self.context.stop_ids,
            sampling,
        )
        ready = set(live)  # whose next response can begin: the others are in the middle of one
        while live:
            ready -= self._refuse_overlong(live, ready, sampling)
            answers = session.act({row: live[row].pending for row in sorted(ready)}) if live else {}
            spoken = {row: self._read(sampled) for row, sampled in answers.items()}
            results = settled_all([live[row].environment.step(action) for row, (_, action, _) in spoken.items()])
            for row, result in zip(answers, results, strict=True):
                self._take_turn(live[row], answers[row], spoken[row], result)
            ready = {row for row in answers if live[row].stop is StopReason.RUNNING}
            for row in sorted(answers.keys() - ready):
                ended = live.pop(row)
                if progress is not None:
                    progress(len(ended.turns))
        return [
            episode.close(
                prompt_ids=episode.prompt.ids,
                token_ids=tuple(episode.tokens),
                logprobs=tuple(episode.logprobs),
                pictures=episode.prompt.pictures,
            )
            for episode in everyone
        ]

    def _open(
        self, request: Request, environment: Environment, first: StepResult, sampling: Sampling
    ) -> _RunningTokens:
        prompt = self.context.start(request.skills, first, request.exemplars)
        if len(prompt.ids) + sampling.max_new_tokens > self.sampler.max_context:
            raise self._too_long(request, len(prompt.ids), sampling)
        kept = self.context.config.show_admissible
        return _RunningTokens(request, environment, first, prompt=prompt, keeps_admissible=kept)

    def _too_long(self, request: Request, tokens: int, sampling: Sampling) -> PolicyError:
        """Why an episode cannot begin."""
        return PolicyError(
            f"task {request.task.id!r} with {request.shown.describe()} begins with {tokens} tokens; "
            f"with a response of {sampling.max_new_tokens} that exceeds the context of {self.sampler.max_context}",
            where=self.sampler.name,
            key="model",
            hint=f"use a model with a longer context, or {request.shorter}",
        )

    def _refuse_overlong(self, live: dict[int, _RunningTokens], ready: set[int], sampling: Sampling) -> set[int]:
        """End the episodes whose next response might not fit the context; their rows."""
        room = self.sampler.max_context - sampling.max_new_tokens
        overlong = {row for row in ready if live[row].length + len(live[row].pending) > room}
        for row in overlong:
            live.pop(row).stop = StopReason.CONTEXT_LIMIT
        return overlong

    def _read(self, sampled: Sampled) -> tuple[str, str, bool]:
        """A response, the command in it, and whether it keeps the format."""
        response = self.context.decode(sampled.tokens)
        return response, *self.context.parse(response)

    def _take_turn(
        self, episode: _RunningTokens, sampled: Sampled, spoken: tuple[str, str, bool], result: StepResult
    ) -> None:
        """Append a response and what it led to, to the sequence."""
        response, action, well_formed = spoken
        episode.tokens += episode.pending
        episode.logprobs += [0.0] * len(episode.pending)
        start = len(episode.tokens)
        read = len(episode.prompt.ids) + start
        if episode.turns:  # all but the observation is in the sampler's cache; a shared prompt counts once an episode
            episode.cached_tokens += read - len(episode.pending)
        episode.tokens += sampled.tokens
        episode.logprobs += sampled.logprobs
        stop = len(episode.tokens)
        as_text = self.context.as_text(episode.prompt, read)
        episode.take(
            result, response, action, well_formed=well_formed, read=read, start=start, stop=stop, as_text=as_text
        )
        episode.pending = self.context.follow(result, sampled.tokens[-1])
