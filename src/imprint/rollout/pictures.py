"""Play episodes whose every turn has a prompt of its own, with a picture in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imprint.context.visual import TurnPrompt, VisualContext
from imprint.models.local.sampler import Sampled, Sampling, Session
from imprint.rollout.base import Live, Request, derive_seed
from imprint.rollout.tokens import Rollout
from imprint.types import Episode, StopReason, View


@dataclass(slots=True)
class _Seen(Live):
    """An episode in flight, with what the policy has read and said at each turn."""

    views: list[View] = field(default_factory=list)


class VisualRollout(Rollout):
    """Plays requests turn by turn: all the episodes of a batch have their n-th turn at the same time."""

    context: VisualContext

    def _play_batch(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None
    ) -> list[Episode]:
        everyone = [self._begin(request) for request in requests]
        live = list(everyone)
        while live:
            pairs = [(episode, one) for episode in live if (one := self._show(episode, sampling)) is not None]
            for (episode, one), sampled in zip(pairs, self._answers(pairs, sampling), strict=True):
                self._go_on(episode, one, sampled)
            if progress is not None:
                for episode in live:
                    if episode.stop is not StopReason.RUNNING:
                        progress(len(episode.turns))
            live = [episode for episode in live if episode.stop is StopReason.RUNNING]
        return [episode.close(views=tuple(episode.views)) for episode in everyone]

    def _begin(self, request: Request) -> _Seen:
        environment = self.world.environment()
        first = environment.reset(request.task, request.seed)
        return _Seen(request, environment, first, keeps_admissible=self.context.config.show_admissible)

    def _show(self, episode: _Seen, sampling: Sampling) -> TurnPrompt | None:
        """What an episode's policy reads next; None, and its end, where a response to it might not fit the context.

        Raises:
            PolicyError: it does not even begin.
        """
        request = episode.request
        first = episode.first.observation
        shown = self.context.turn_prompt(request.skills, request.exemplars, first, episode.turns, episode.now)
        if len(shown.prompt.ids) + sampling.max_new_tokens <= self.policy.max_context:
            return shown
        if not episode.turns:
            raise self._too_long(request, len(shown.prompt.ids), sampling)
        episode.stop = StopReason.CONTEXT_LIMIT
        return None

    def _answers(self, pairs: Sequence[tuple[_Seen, TurnPrompt]], sampling: Sampling) -> list[Sampled]:
        """A response of each episode; its draws depend on its own seed and turn alone."""
        if not pairs:
            return []
        seeds = [derive_seed(episode.request.seed, "turn", len(episode.turns)) for episode, _ in pairs]
        session = Session(self.policy, [one.prompt for _, one in pairs], seeds, self.context.stop_ids, sampling)
        answers = session.act(dict.fromkeys(range(len(pairs)), ()))
        while len(answers) < len(pairs):
            answers |= session.act({})
        return [answers[row] for row in range(len(pairs))]

    def _go_on(self, episode: _Seen, shown: TurnPrompt, sampled: Sampled) -> None:
        prompt = shown.prompt
        episode.views.append(View(prompt.ids, tuple(sampled.tokens), tuple(sampled.logprobs), prompt.pictures))
        response = self.policy.decode(sampled.tokens)
        action, well_formed, factor = self.context.read(response)
        episode.act(
            response,
            action,
            well_formed=well_formed,
            read=len(prompt.ids),
            start=0,
            stop=len(sampled.tokens),
            factor=factor,
            as_text=shown.text_tokens,
        )
