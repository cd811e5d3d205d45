"""The optimizers of a policy's weights."""

from __future__ import annotations

import torch

from imprint.learning.config import LearnerConfig
from imprint.models.local.policy import Policy


def make_optimizers(policy: Policy, config: LearnerConfig) -> list[torch.optim.Optimizer]:
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
