"""Play episodes whose every turn has a prompt of its own, with a picture in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imprint.context.visual import TurnPrompt, VisualContext
from imprint.envs.checked import CheckedEnvironment
from imprint.envs.stepping import settled_all
from imprint.models.sampling import Sampled, Sampling
from imprint.rollout.base import Request, RunningEpisode, derive_seed
from imprint.rollout.tokens import TokenRollout
from imprint.types import Episode, StepResult, StopReason, View


@dataclass(slots=True)
class _RunningPictures(RunningEpisode):
    """An episode in flight, with what the policy has read and answered at each turn."""

    views: list[View] = field(default_factory=list)


class PictureRollout(TokenRollout):
    """Plays requests turn by turn: all the episodes of a batch have their n-th turn at the same time."""

    context: VisualContext

    def _play_batch(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None
    ) -> list[Episode]:
        environments = [CheckedEnvironment(self.world) for _ in requests]
        firsts = settled_all([e.reset(r.task, r.seed) for e, r in zip(environments, requests, strict=True)])
        kept = self.context.config.show_admissible
        opened = zip(requests, environments, firsts, strict=True)
        everyone = [_RunningPictures(*one, keeps_admissible=kept) for one in opened]
        live = list(everyone)
        while live:
            pairs = [(episode, one) for episode in live if (one := self._show(episode, sampling)) is not None]
            answers = self._answers(pairs, sampling)
            spoken = [self._read_turn(sampled) for sampled in answers]
            results = settled_all([e.environment.step(turn[1]) for (e, _), turn in zip(pairs, spoken, strict=True)])
            for (episode, one), sampled, turn, result in zip(pairs, answers, spoken, results, strict=True):
                self._turn_taken(episode, one, sampled, turn, result)
            if progress is not None:
                for episode in live:
                    if episode.stop is not StopReason.RUNNING:
                        progress(len(episode.turns))
            live = [episode for episode in live if episode.stop is StopReason.RUNNING]
        return [episode.close(views=tuple(episode.views)) for episode in everyone]

    def _show(self, episode: _RunningPictures, sampling: Sampling) -> TurnPrompt | None:
        """What an episode's policy reads next; None, and its end, where a response to it might not fit the context.

        Raises:
            PolicyError: it does not even begin.
        """
        request = episode.request
        first = episode.first.observation
        shown = self.context.turn_prompt(request.skills, request.exemplars, first, episode.turns, episode.now)
        if len(shown.prompt.ids) + sampling.max_new_tokens <= self.sampler.max_context:
            return shown
        if not episode.turns:
            raise self._too_long(request, len(shown.prompt.ids), sampling)
        episode.stop = StopReason.CONTEXT_LIMIT
        return None

    def _answers(self, pairs: Sequence[tuple[_RunningPictures, TurnPrompt]], sampling: Sampling) -> list[Sampled]:
        """A response of each episode; its draws depend on its own seed and turn alone."""
        if not pairs:
            return []
        seeds = [derive_seed(episode.request.seed, "turn", len(episode.turns)) for episode, _ in pairs]
        session = self.sampler.open([one.prompt for _, one in pairs], seeds, self.context.stop_ids, sampling)
        answers = session.act(dict.fromkeys(range(len(pairs)), ()))
        while len(answers) < len(pairs):
            answers |= session.act({})
        return [answers[row] for row in range(len(pairs))]

    def _read_turn(self, sampled: Sampled) -> tuple[str, str, bool, float]:
        """A response, the command in it, whether it keeps the format, and the factor for the next picture."""
        response = self.context.decode(sampled.tokens)
        return response, *self.context.read(response)

    def _turn_taken(
        self,
        episode: _RunningPictures,
        shown: TurnPrompt,
        sampled: Sampled,
        spoken: tuple[str, str, bool, float],
        result: StepResult,
    ) -> None:
        prompt = shown.prompt
        response, action, well_formed, factor = spoken
        episode.views.append(View(prompt.ids, tuple(sampled.tokens), tuple(sampled.logprobs), prompt.pictures))
        episode.take(
            result,
            response,
            action,
            well_formed=well_formed,
            read=len(prompt.ids),
            start=0,
            stop=len(sampled.tokens),
            factor=factor,
            as_text=shown.text_tokens,
        )
