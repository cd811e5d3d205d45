"""The local sampler: tokens in, tokens and log-probs out, for a batch of growing sequences.

One `LocalSession` is one batch of episodes. Each row's sequence only grows, so its keys and values are computed once;
the part of the prompt that rows have in common (the skills, then the task) is computed once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imprint.errors import PolicyError
from imprint.models.local.cache import RowCache
from imprint.models.local.continuation import padded
from imprint.models.local.device import within_memory
from imprint.models.local.forward import LoadedModel, hidden_states, logits_of, read_prompts
from imprint.models.sampling import Prompt, Sampled, Sampling

__all__ = ["LocalSampler", "LocalSession", "Prompt", "Sampled", "Sampling", "draw"]


# While fewer than this share of a call's rows are still in their response, the others do not wait for them.
STRAGGLERS = 1 / 4
NOT_FINITE = (
    "use a checkpoint whose weights are finite; if they are, set dtype to float32 or bfloat16: float16 overflows"
)


@dataclass(slots=True)
class _Draft:
    """A response that is not finished: its tokens so far, and the draws for all it may have."""

    draws: npt.NDArray[np.float64]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class LocalSampler:
    """Samples from a policy in this process (the protocol `models.sampling.Sampler`)."""

    def __init__(self, policy: LoadedModel) -> None:
        self.policy = policy

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def max_context(self) -> int:
        return self.policy.max_context

    @within_memory()
    def open(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], stop: Iterable[int], sampling: Sampling
    ) -> LocalSession:
        """Begin a batch, with the model in eval mode: dropout would make it sample from another policy."""
        self.policy.model.eval()
        return LocalSession(self.policy, prompts, seeds, stop, sampling)

    def sync(self, learner: object) -> None:
        """Nothing to do: the learner changes the very weights that are sampled from."""


class LocalSession:
    """Rows of one batch, from their prompts to their ends.

    Args:
        prompts: one per row.
        seeds: one per row; a row's draws depend on its own seed and on nothing else in the batch.
        stop: token ids that end a response.
    """

    def __init__(
        self,
        policy: LoadedModel,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        stop: Iterable[int],
        sampling: Sampling,
    ) -> None:
        self.policy = policy
        self.sampling = sampling
        self.stop = torch.tensor(sorted(stop), device=policy.device)
        self.row_of = {row: row for row in range(len(prompts))}
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        with torch.no_grad():
            self.cache = _prefill(policy, prompts)
        self._last = {row: prompt.ids[-1] for row, prompt in enumerate(prompts)}  # not read yet
        self._drafts: dict[int, _Draft] = {}

    @torch.no_grad()
    @within_memory()
    def act(self, inputs: Mapping[int, Sequence[int]]) -> dict[int, Sampled]:
        """Read `inputs` (new tokens per row; may be empty before the first response) and sample responses.

        Most rows have a response when this returns. A few long ones may not: they continue in the next call, to which
        only the rows that were answered bring new tokens. At least one row is answered in every call. Rows that are
        neither among `inputs` nor unanswered have ended and leave the batch.
        """
        self._leave(set(self.row_of) - set(inputs) - set(self._drafts))
        for row in inputs:
            self._drafts[row] = _Draft(self._generators[row].random(self.sampling.max_new_tokens))
        rows = sorted(self.row_of, key=self.row_of.__getitem__)
        chunks = [[self._last[row], *inputs.get(row, ())] if row in self._drafts else [] for row in rows]
        return self._sample(rows, self._read(chunks))

    def _read(self, chunks: Sequence[Sequence[int]]) -> Tensor:
        """Read one chunk per row; the logits [B, vocabulary] after each chunk's last token."""
        lengths = torch.tensor([len(chunk) for chunk in chunks], device=self.policy.device)
        states = _forward(self.policy, self.cache, chunks, lengths)
        last = states[torch.arange(len(chunks), device=states.device), (lengths - 1).clamp(min=0)]
        return logits_of(self.policy, last)

    def _sample(self, rows: list[int], logits: Tensor) -> dict[int, Sampled]:
        """Continue every draft until few are left; returns the finished ones."""
        limit, device = self.sampling.max_new_tokens, logits.device
        uniforms = np.zeros((len(rows), limit))
        drawn = [0] * len(rows)  # tokens of each row's draft before this call
        for place, row in enumerate(rows):
            if row in self._drafts:
                uniforms[place], drawn[place] = self._drafts[row].draws, len(self._drafts[row].tokens)
        draws, places = torch.from_numpy(uniforms).to(device), torch.arange(len(rows), device=device)
        active = torch.tensor([row in self._drafts for row in rows], device=device)
        few = int(active.sum()) * STRAGGLERS
        counts = torch.tensor(drawn, device=device)
        tokens, logprobs = [], []
        while True:
            token, logprob = draw(logits, draws[places, counts.clamp(max=limit - 1)], self.sampling.temperature)
            tokens.append(token)
            logprobs.append(logprob)
            counts += active
            active = active & ~torch.isin(token, self.stop) & (counts < limit)
            if int(active.sum()) <= few:
                break
            mask, positions = self.cache.advance(active.long(), 1)
            states = hidden_states(
                self.policy,
                input_ids=token[:, None],
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                **_sharing(self.policy, self.cache),
            )
            self.cache.commit()
            logits = logits_of(self.policy, states[:, 0])
        token_table = torch.stack(tokens, dim=1).tolist()
        logprob_table = torch.stack(logprobs, dim=1).tolist()
        answers: dict[int, Sampled] = {}
        for place, row in enumerate(rows):
            if (draft := self._drafts.get(row)) is None:
                continue
            new = int(counts[place]) - drawn[place]
            draft.tokens += token_table[place][:new]
            draft.logprobs += self._finite(logprob_table[place][:new])
            self._last[row] = draft.tokens[-1]
            if not active[place]:
                answers[row] = Sampled(draft.tokens, draft.logprobs)
                del self._drafts[row]
        return answers

    def _finite(self, logprobs: list[float]) -> list[float]:
        """The log-probs of sampled tokens as they are.

        Raises:
            PolicyError: one is no number: whatever was drawn means nothing.
        """
        wrong = next((value for value in logprobs if not math.isfinite(value)), None)
        if wrong is None:
            return logprobs
        raise PolicyError(
            f"the log-prob of a sampled token is {wrong}",
            where=self.policy.name,
            key="model",
            hint=NOT_FINITE,
        )

    def _leave(self, ended: set[int]) -> None:
        """Drop rows that have ended, once a quarter of the batch has: copying the cache is not free."""
        if len(ended) * 4 < len(self.row_of) or not ended:
            return
        kept = [row for row in sorted(self.row_of, key=self.row_of.__getitem__) if row not in ended]
        places = torch.tensor([self.row_of[row] for row in kept], dtype=torch.long, device=self.policy.device)
        self.cache = self.cache.take(places)
        self.row_of = {row: place for place, row in enumerate(kept)}


def draw(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token per row by inverse transform sampling: logits [B, V], uniforms [B] in [0, 1)."""
    if temperature == 0.0:
        logprobs = torch.log_softmax(logits, dim=-1)
        token = logits.argmax(dim=-1)
    else:
        logprobs = torch.log_softmax(logits / temperature, dim=-1)
        cumulative = logprobs.double().exp().cumsum(dim=-1)
        # Scaled by the last value, so that rounding never leaves a draw above the whole distribution.
        target = (uniforms * cumulative[:, -1]).unsqueeze(-1)
        token = torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)
    return token, logprobs.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def _forward(policy: LoadedModel, cache: RowCache, chunks: Sequence[Sequence[int]], lengths: Tensor) -> Tensor:
    ids = padded(chunks, policy.device)
    mask, positions = cache.advance(lengths, ids.shape[1])
    states = hidden_states(
        policy,
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        **_sharing(policy, cache),
    )
    cache.commit()
    return states


def _prefill(policy: LoadedModel, prompts: Sequence[Prompt]) -> RowCache:
    """Read every prompt but its last token; each distinct skill prefix and each distinct prompt once."""
    if any(prompt.pictures for prompt in prompts):
        return _prefill_with_pictures(policy, prompts)
    prefixes = sorted({prompt.ids[: prompt.shared] for prompt in prompts})
    wholes = sorted({(prompt.ids[: prompt.shared], prompt.ids[prompt.shared :]) for prompt in prompts})
    cache = RowCache(policy.layers, len(prefixes), policy.device)
    if any(len(prompt.ids) <= prompt.shared for prompt in prompts):
        raise ValueError("a prompt must hold at least one token that is not shared")
    if any(prefixes):
        _forward(policy, cache, prefixes, _lengths(prefixes, policy.device))
    place_of_prefix = {prefix: place for place, prefix in enumerate(prefixes)}
    owners = torch.tensor([place_of_prefix[prefix] for prefix, _ in wholes], device=policy.device)
    cache = cache.after(owners) if policy.shares_prefixes and any(prefixes) else cache.take(owners)
    rests = [rest[:-1] for _, rest in wholes]
    if any(rests):
        _forward(policy, cache, rests, _lengths(rests, policy.device))
    place_of_whole = {whole: place for place, whole in enumerate(wholes)}
    rows = [place_of_whole[(prompt.ids[: prompt.shared], prompt.ids[prompt.shared :])] for prompt in prompts]
    return cache.take(torch.tensor(rows, device=policy.device))


def _prefill_with_pictures(policy: LoadedModel, prompts: Sequence[Prompt]) -> RowCache:
    """Read every prompt but its last token, which is text; each distinct prompt once."""
    wholes = list(dict.fromkeys((prompt.ids, prompt.pictures) for prompt in prompts))
    chunks = [ids[:-1] for ids, _ in wholes]
    lengths = _lengths(chunks, policy.device)
    cache = RowCache(policy.layers, len(wholes), policy.device)
    mask, _ = cache.advance(lengths, max(map(len, chunks)))
    _, behind = read_prompts(
        policy, padded(chunks, policy.device), lengths, [pictures for _, pictures in wholes], mask, cache
    )
    cache.commit()
    cache.offsets = behind
    place_of = {whole: place for place, whole in enumerate(wholes)}
    rows = [place_of[prompt.ids, prompt.pictures] for prompt in prompts]
    return cache.take(torch.tensor(rows, device=policy.device))


def _sharing(policy: LoadedModel, cache: RowCache) -> dict[str, RowCache]:
    return {"row_cache": cache} if policy.shares_prefixes else {}


def _lengths(sequences: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    return torch.tensor([len(sequence) for sequence in sequences], device=device)
