"""The settings of learning: plain data, so that a recipe can be checked without loading PyTorch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

RARE = -5.0  # nats: a token below is rare (RLTF-SD's bound, arXiv 2602.02482)
Beta = Annotated[float, Field(ge=0, lt=1)]
Aggregate = Literal["token-mean", "sequence-mean-token-mean"]
TeacherKind = Literal["base", "ema", "live"]
DivergenceBeta = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="0: KL(teacher || policy); 1: KL(policy || teacher); between: generalised Jensen-Shannon.",
    ),
]
DivergenceTopK = Annotated[
    int | None,
    Field(
        ge=1,
        description="The most likely tokens that are told apart, the rest counting as one; null: the whole vocabulary. "
        "For vocabularies above some 30,000 tokens, to save memory.",
    ),
]


class LearnerConfig(BaseModel):
    """The recipe's `learner` section."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="`muon` for the layers' matrices and AdamW for the rest: faster from scratch."
    )
    lr: float = Field(default=1e-6, gt=0, description="AdamW's learning rate after the warm-up.")
    muon_lr: float = Field(default=0.02, gt=0, description="Muon's learning rate; the same schedule applies.")
    warmup_steps: int = Field(default=0, ge=0, description="Updates over which the learning rate rises from 0.")
    decay: Literal["constant", "linear"] = Field(
        default="constant", description="`linear` falls to a tenth at the last step."
    )
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this norm.")
    minibatches: int = Field(default=1, ge=1, description="Optimizer steps per batch of samples and epoch.")
    epochs: int = Field(default=1, ge=1, description="Passes over each batch of samples.")
    micro_tokens: int = Field(default=8192, ge=1, description="Padded tokens per forward pass (memory).")
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    dual_clip: float | None = Field(default=3.0, gt=1)
    aggregate: Aggregate = Field(default="token-mean", description="How token losses become one number.")
    kl_coef: float = Field(default=0.0, ge=0, description="Weight of KL(policy || starting policy); 0 keeps no copy.")
    entropy_coef: float = Field(default=0.0, ge=0, description="Weight of the entropy bonus; 0 computes none.")
    freeze_vision_tower: bool = Field(
        default=False,
        description="Of a policy that reads pictures, learn the language part alone. Each picture is then looked at "
        "once, and what it shows is not unlearned.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Autocast for the update; bfloat16 helps on GPUs, not on small CPUs."
    )
