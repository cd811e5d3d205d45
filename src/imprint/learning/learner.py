"""The learner: turns samples into weight changes, by whatever loss a method gives it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imprint.errors import PolicyError, RecipeError
from imprint.learning.config import LearnerConfig, TeacherKind
from imprint.learning.losses.base import Loss, Metrics
from imprint.learning.optimizers import make_optimizers
from imprint.learning.sample import Floats, Sample
from imprint.learning.scoring import Scored, micro_batches, score, score_apart
from imprint.learning.teacher import Teacher
from imprint.models.local.device import within_memory
from imprint.models.local.policy import Policy, without_bars

NORM_MEMORY = 0.99  # of the gradient's size, per optimizer step


class Learner:
    """Holds the optimizer of a policy in this process (`methods.base.Learner` is the protocol).

    Args:
        total_steps: how many calls will be made, for the decay of the learning rate.
        temperature: of the sampler whose log-probs the samples carry.
        weights: a saved policy whose weights `policy` gets first; a KL term's reference has them too.

    Raises:
        RecipeError: a vision tower is to be frozen, and the policy reads no pictures.
    """

    def __init__(
        self,
        policy: Policy,
        config: LearnerConfig,
        *,
        total_steps: int,
        temperature: float = 1.0,
        weights: Path | None = None,
    ) -> None:
        self.policy = policy
        self.config = config
        self.total_steps = total_steps
        self.temperature = temperature or 1.0
        if weights is not None:
            self.load(weights)
        if config.freeze_vision_tower:
            _freeze_tower(policy)
        self.weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
        self.optimizers = make_optimizers(policy, config)
        self.steps = 0
        self.optimizer_steps = 0  # since this learner was made, as `tokens`
        self.tokens = 0  # trained ones, in every pass
        self._square, self._squares = 0.0, 0  # of the gradient's norm: a running mean, and of how many
        self.reference = copy.deepcopy(policy) if config.kl_coef > 0 else None
        self.teacher: Teacher | None = None

    def keep_teacher(self, kind: TeacherKind, decay: float = 0.0) -> None:
        """Keep a teacher for the losses that need one. Called before a checkpoint is loaded: the teacher begins as the
        policy that training starts from.

        Args:
            kind, decay: see `learning.teacher.Teacher`.
        """
        if kind == "base" and self.reference is None:
            self.reference = copy.deepcopy(self.policy)
        self.teacher = Teacher(self.policy, kind, decay, start=self.reference)

    @within_memory()
    def step(self, samples: Sequence[Sample], loss: Loss, *, done: float | None = None) -> Metrics:
        """Learn from a batch: `minibatches` optimizer steps for each of `epochs` passes.

        Args:
            loss: e.g. `losses.GrpoLoss.of(config)`. GRPO's old log-probs are those that the sampler recorded.
            done: share of the training that lies behind, for the decay of the learning rate; the share of
                `total_steps` if None.

        Returns:
            The loss's metrics as `loss/...`, `grad_norm` (before clipping), `lr` and `loss/samples`. An empty batch, or
            one that the loss keeps nothing of, changes nothing and has 0 as `loss/samples`.

        Raises:
            RecipeError: the gradient is not finite.
        """
        kept = [sample for sample in samples if loss.keeps(sample)]
        if not kept:
            self.steps += 1
            return {"loss/samples": 0.0}
        # Samples without a gradient are left out of the work, but not of the mean.
        total = loss.denominator(samples)
        parts: list[Metrics] = []
        norms: list[float] = []
        for _ in range(self.config.epochs):
            for share in _split(kept, self.config.minibatches):
                denominator = total if len(share) == len(kept) else total * len(share) / len(kept)
                self._set_lr(done)
                norms.append(self._optimize(share, loss, denominator, parts))
        self.steps += 1
        metrics = {f"loss/{name}": value for name, value in loss.merge(parts).items()}
        return metrics | {
            "grad_norm": sum(norms) / len(norms),
            "lr": self._lr(),
            "loss/samples": float(len(kept)),
        }

    def logprobs(self, samples: Sequence[Sample]) -> list[Floats]:
        """The log-probs, in nats, of each sample's trained tokens under the policy as it is."""
        with self._autocast():
            found = score_apart(
                self.policy,
                samples,
                self.config.micro_tokens,
                lambda scored: scored.logprobs_M,
                temperature=self.temperature,
            )
        return [logprobs.float().cpu().numpy() for logprobs in found]

    def save(self, folder: Path) -> None:
        """Write the policy as a Hugging Face folder."""
        self.policy.save(folder)

    def load(self, folder: Path) -> None:
        """Put the weights of a saved policy back.

        Raises:
            ValueError: they do not fit the model.
        """
        self.policy.model.load_state_dict(_saved_weights(folder, self.policy.model))
        self.policy.model.tie_weights()

    def _optimize(self, samples: list[Sample], loss: Loss, denominator: float, parts: list[Metrics]) -> float:
        """Accumulate the gradients of all micro-batches, clip, and step; the norm before clipping."""
        # In eval mode, as the sampler was: dropout would make the first ratio other than 1.
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        for micro in micro_batches(samples, self.config.micro_tokens):
            with self._autocast():
                scored = replace(self._scored(micro, loss), denominator=denominator)
                value, metrics = loss(scored)
            parts.append(metrics)
            value.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise RecipeError(
                f"the gradient is {norm} at update {self.steps + 1}",
                key="learner.lr",
                hint="lower it (or muon_lr, entropy_coef, the weights of the method's own losses) and train anew",
            )
        if loss.damps_muon:
            self._damp_muon(norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.optimizer_steps += 1
        self.tokens += sum(sample.trained_tokens for sample in samples)
        if self.teacher is not None:
            self.teacher.follow()
        return norm

    def _scored(self, micro: Sequence[Sample], loss: Loss) -> Scored:
        """A micro-batch under the policy, with what the loss needs besides."""
        entropy, some = "entropy" in loss.needs, "distributions of the taught" in loss.needs
        distributions = some or "distributions" in loss.needs
        scored = score(
            self.policy, micro, temperature=self.temperature, with_entropy=entropy, with_distribution=distributions
        )
        if distributions:
            taught = [sample for sample in micro if sample.teacher is not None] if some else micro
            if taught:
                scored = replace(scored, teacher_logprobs_MV=self._taught(taught, distributions=True))
        elif "teacher" in loss.needs:
            scored = replace(scored, teacher_logprobs_M=self._taught(micro, distributions=False))
        if "reference" not in loss.needs:
            return scored
        if self.reference is None:
            raise RecipeError(
                "this loss needs the starting policy, and no copy of it was kept",
                key="learner.kl_coef",
                hint="set it above 0",
            )
        with torch.no_grad():
            reference = score(self.reference, micro, temperature=self.temperature).logprobs_M
        return replace(scored, reference_logprobs_M=reference)

    def _taught(self, micro: Sequence[Sample], *, distributions: bool) -> Tensor:
        """The teacher's log-probs of a micro-batch's trained tokens [M], or of the whole vocabulary [M, V].

        Raises:
            PolicyError: what the teacher reads exceeds its context.
        """
        if self.teacher is None:
            raise ValueError("this loss needs a teacher, and none is kept: call `keep_teacher` first")
        reads = [sample.as_teacher_reads() for sample in micro]
        longest = max(len(sample.prompt_ids) + len(sample.token_ids) for sample in reads)
        if longest > self.policy.max_context:
            raise PolicyError(
                f"an episode has {longest} tokens with the teacher's prompt; the context has {self.policy.max_context}",
                where=self.policy.name,
                key="model",
                hint="use a model with a longer context, shorter skills, or fewer turns (env.max_turns)",
            )
        # In micro-batches of its own: the teacher's prompts are longer, and the memory is to stay what it is.
        found = score_apart(
            self.teacher.policy,
            reads,
            self.config.micro_tokens,
            lambda scored: scored.logprobs_M if scored.logprobs_MV is None else scored.logprobs_MV,
            temperature=self.temperature,
            with_distribution=distributions,
        )
        return torch.cat(found)

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

    def _damp_muon(self, norm: float) -> None:
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
        """What a checkpoint must hold for an exact resume."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
            "norms": (self._square, self._squares),
            **({} if self.teacher is None else self.teacher.state()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = int(state["steps"])
        self._square, self._squares = state["norms"]
        if self.teacher is not None:
            self.teacher.restore(state)


def _freeze_tower(policy: Policy) -> None:
    if policy.vision is None:
        raise RecipeError(
            "this policy reads no pictures, so that there is no vision tower to freeze",
            where=policy.name,
            key="learner.freeze_vision_tower",
            hint="set it to false, or draw something (context.skills: image)",
        )
    policy.freeze_vision()


def _saved_weights(folder: Path, model: Any) -> dict[str, Tensor]:
    """The weights of a saved model by the names of `model`: files can hold them by others, and in several parts."""
    with without_bars():
        saved, info = type(model).from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
    wrong = sorted({*info["missing_keys"], *info["unexpected_keys"]})
    if wrong:
        raise ValueError(f"weights do not fit the model: {wrong[:3]}")
    weights: dict[str, Tensor] = saved.state_dict()
    return weights


def _split(samples: list[Sample], parts: int) -> list[list[Sample]]:
    """Strided, so that every part holds some of each group."""
    return [share for share in (samples[start::parts] for start in range(parts)) if share]
