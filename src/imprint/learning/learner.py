"""The learner: turns samples into weight changes, by GRPO's surrogate loss or by imitation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imprint.errors import RecipeError
from imprint.learning.config import Aggregate, LearnerConfig
from imprint.learning.grpo import aggregate_tokens, kl_penalty, merge_metrics, policy_loss
from imprint.learning.scoring import Sample, Scored, micro_batches, score
from imprint.models.local.policy import Policy

NORM_MEMORY = 0.99  # of the gradient's size, per optimizer step


class Learner:
    """Holds the optimizer; `update` learns from rewards, `imitate` from demonstrations.

    Args:
        total_steps: how many calls will be made, for the decay of the learning rate.
        temperature: of the sampler whose log-probs the samples carry.

    Raises:
        RecipeError: a vision tower is to be frozen, and the policy reads no pictures.
    """

    def __init__(self, policy: Policy, config: LearnerConfig, *, total_steps: int, temperature: float = 1.0) -> None:
        self.policy = policy
        self.config = config
        self.total_steps = total_steps
        self.temperature = temperature or 1.0
        if config.freeze_vision_tower:
            _freeze_tower(policy)
        self.weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
        self.optimizers = _optimizers(policy, config)
        self.steps = 0
        self._square, self._squares = 0.0, 0  # of the gradient's norm: a running mean, and of how many
        self.reference = copy.deepcopy(policy) if config.kl_coef > 0 else None

    def update(self, samples: Sequence[Sample], *, done: float | None = None) -> dict[str, float]:
        """One step of GRPO on a batch (the old log-probs are those the sampler recorded).

        Args:
            done: share of the training that lies behind, for the decay of the learning rate; the share of
                `total_steps` if None.

        Returns:
            Metrics named `loss/...` and `grad_norm`; an empty batch, or one whose advantages are all 0 when no other
            term is in force, changes nothing and says so in `loss/samples`.
        """
        config = self.config
        kept = [s for s in samples if s.trained_tokens and (self._always_useful or bool(s.advantages_T.any()))]
        if not kept:
            self.steps += 1
            return {"loss/samples": 0.0}
        # Samples without an advantage have no gradient; they are left out of the work, but not of the mean.
        total = _denominator(config.aggregate, samples)
        parts: list[dict[str, float]] = []
        norms: list[float] = []
        for _ in range(config.epochs):
            for share in _split(kept, config.minibatches):
                denominator = total * len(share) / len(kept)
                self._set_lr(done)
                norms.append(self._step(share, partial(self._grpo_loss, denominator, parts), hold=True))
        self.steps += 1
        metrics = merge_metrics(parts)
        metrics = {f"loss/{name}": value for name, value in metrics.items()}
        return metrics | {
            "grad_norm": sum(norms) / len(norms),
            "lr": self._lr(),
            "loss/samples": float(len(kept)),
        }

    def imitate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One step of supervised learning: the mean negative log-prob of the trained tokens, weighted by
        `advantages_T` (1 for an ordinary demonstration)."""
        total = float(sum(sample.advantages_T[sample.mask_T].sum() for sample in samples))
        losses: list[float] = []

        def loss_of(scored: Scored) -> Tensor:
            loss = -(scored.logprobs_M * scored.advantages_M).sum() / total
            losses.append(float(loss.detach()))
            return loss

        self._set_lr()
        norm = self._step(list(samples), loss_of)
        self.steps += 1
        return {"loss/nll": sum(losses), "grad_norm": norm, "lr": self._lr()}

    @property
    def _always_useful(self) -> bool:
        return self.config.kl_coef > 0 or self.config.entropy_coef > 0

    def _step(self, samples: list[Sample], loss_of: Callable[[Scored], Tensor], *, hold: bool = False) -> float:
        """Accumulate the gradients of all micro-batches, clip, and step; the norm before clipping."""
        # In eval mode, as the sampler was: dropout would make the first ratio other than 1.
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        for micro in micro_batches(samples, self.config.micro_tokens):
            with self._autocast():
                scored = score(
                    self.policy,
                    micro,
                    temperature=self.temperature,
                    with_entropy=self.config.entropy_coef > 0,
                )
                if self.reference is not None:
                    with torch.no_grad():
                        self._reference_M = score(self.reference, micro, temperature=self.temperature).logprobs_M
                loss = loss_of(scored)
            loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise RecipeError(
                f"the gradient is {norm} at update {self.steps + 1}",
                key="learner.lr",
                hint="lower it (or muon_lr, entropy_coef, transfer.weight) and train anew",
            )
        if hold:
            self._hold_muon(norm)
        for optimizer in self.optimizers:
            optimizer.step()
        return norm

    def _grpo_loss(self, denominator: float, parts: list[dict[str, float]], scored: Scored) -> Tensor:
        config = self.config
        old_M, trained_M, weights_M = _transferred(scored)

        def mean(values_M: Tensor) -> Tensor:
            everything = torch.ones_like(values_M, dtype=torch.bool)
            return aggregate_tokens(
                values_M, everything, config.aggregate, sequences_T=scored.sample_M, denominator=denominator
            )

        loss, metrics = policy_loss(
            scored.logprobs_M,
            old_M,
            scored.advantages_M,
            trained_M,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
            aggregate=config.aggregate,
            importance_T=weights_M,
            sequences_T=scored.sample_M,
            denominator=denominator,
        )
        # Per token, so that `merge_metrics`, which weighs parts by their tokens, gives the mean of the batch.
        if config.aggregate == "token-mean":
            metrics["policy"] = float(loss.detach()) * denominator / max(1, len(scored.logprobs_M))
        if self.reference is not None:
            # Of tokens that the policy sampled itself: the estimator's mean is the KL for these alone.
            own_M = torch.tensor([s.transfer is None for s in scored.samples], device=old_M.device)[scored.sample_M]
            kl_M = kl_penalty(scored.logprobs_M, self._reference_M) * own_M
            loss = loss + config.kl_coef * mean(kl_M)
            metrics["kl"] = float(kl_M.detach().mean())
        if scored.entropy_M is not None:
            loss = loss - config.entropy_coef * mean(scored.entropy_M)
            metrics["entropy"] = float(scored.entropy_M.detach().mean())
        parts.append(metrics)
        return loss

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.policy.device.type, dtype=torch.bfloat16)

    def _lr(self) -> float:
        return float(self.optimizers[0].param_groups[0]["lr"])

    def _set_lr(self, done: float | None = None) -> None:
        config = self.config
        factor = min(1.0, (self.steps + 1) / max(1, config.warmup_steps))
        if config.decay == "linear":
            done = self.steps / max(1, self.total_steps) if done is None else done
            factor *= 1.0 - 0.9 * min(1.0, done)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def _hold_muon(self, norm: float) -> None:
        """Let Muon's step be smaller where the gradient is smaller than it used to be.

        Muon takes steps of one size whatever the gradient's. AdamW has a memory of the size: when most groups have all
        won or all lost and little is left to learn, it moves little. So does Muon by `norm` over its running root mean
        square; without this, noise undoes in a skill-free stage what the stages before it learned.
        """
        self._square = NORM_MEMORY * self._square + (1 - NORM_MEMORY) * norm**2
        self._squares += 1
        usual = math.sqrt(self._square / (1 - NORM_MEMORY**self._squares))
        share = min(1.0, norm / usual) if usual else 1.0
        for optimizer in self.optimizers:
            if isinstance(optimizer, torch.optim.Muon):
                for group in optimizer.param_groups:
                    group["lr"] *= share

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on as if never interrupted."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
            "norms": (self._square, self._squares),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = int(state["steps"])
        self._square, self._squares = state["norms"]


def _freeze_tower(policy: Policy) -> None:
    if policy.vision is None:
        raise RecipeError(
            "this policy reads no pictures, so that there is no vision tower to freeze",
            where=policy.name,
            key="learner.freeze_vision_tower",
            hint="set it to false, or draw something (context.skills: image)",
        )
    policy.freeze_vision()


def _optimizers(policy: Policy, config: LearnerConfig) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon (Jordan et al. 2024) for the layers' matrices and AdamW for the rest."""
    weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
    tables = {id(policy.model.get_input_embeddings().weight), id(policy.model.get_output_embeddings().weight)}
    matrices = [w for w in weights if w.dim() == 2 and id(w) not in tables] if config.optimizer == "muon" else []
    taken = {id(weight) for weight in matrices}
    rest = [weight for weight in weights if id(weight) not in taken]
    # Norms and biases are not decayed: it would pull them to 0, which is no simpler function.
    groups = [
        {"params": [w for w in rest if w.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [w for w in rest if w.dim() < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _transferred(scored: Scored) -> tuple[Tensor, Tensor, Tensor | None]:
    """Old log-probs, which tokens are trained, and importance weights, all [M], with the rules of transferred samples
    (`methods/imprint.py`) applied where a token belongs to one."""
    old_M = scored.old_logprobs_M
    trained_M = torch.ones_like(old_M, dtype=torch.bool)
    weights_M: Tensor | None = None
    now_M = scored.logprobs_M.detach()
    for index, sample in enumerate(scored.samples):
        rules = sample.transfer
        if rules is None:
            continue
        mine = scored.sample_M == index
        if rules.importance_cap is not None:
            weights_M = torch.ones_like(old_M) if weights_M is None else weights_M
            weights_M[mine] = (now_M[mine] - old_M[mine]).exp().clamp(max=rules.importance_cap)
        if rules.min_logprob is not None:
            trained_M[mine] = now_M[mine] >= rules.min_logprob
        old_M = torch.where(mine, now_M, old_M)
    return old_M, trained_M, weights_M


def _split(samples: list[Sample], parts: int) -> list[list[Sample]]:
    """Strided, so that every part holds some of each group."""
    return [share for share in (samples[start::parts] for start in range(parts)) if share]


def _denominator(aggregate: Aggregate, samples: Sequence[Sample]) -> float:
    """What the sum over a batch is divided by: its trained tokens, or its sequences."""
    if aggregate == "sequence-mean-token-mean":
        return float(sum(1 for sample in samples if sample.trained_tokens))
    return float(sum(sample.trained_tokens for sample in samples))
