"""The losses, one file each. They need PyTorch and are loaded on first use: a method that refers to `losses.GrpoLoss`
can be
imported, and its settings checked, without PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imprint.learning.losses.base import Loss
    from imprint.learning.losses.beside import BesideLoss
    from imprint.learning.losses.distillation import DistillationLoss
    from imprint.learning.losses.gated import GatedLoss
    from imprint.learning.losses.grpo import GrpoLoss
    from imprint.learning.losses.rare import RareTokenLoss
    from imprint.learning.losses.sft import SftLoss

__all__ = ["BesideLoss", "DistillationLoss", "GatedLoss", "GrpoLoss", "Loss", "RareTokenLoss", "SftLoss"]

_PLACES = {
    "BesideLoss": "beside",
    "DistillationLoss": "distillation",
    "GatedLoss": "gated",
    "GrpoLoss": "grpo",
    "Loss": "base",
    "RareTokenLoss": "rare",
    "SftLoss": "sft",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
