"""What figures depend on beside the recipe: processor, cores, device and versions. No host name, and no path."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imprint import __version__

__all__ = ["machine"]


def machine(device: str = "cpu") -> dict[str, Any]:
    """This machine as a JSON-ready dictionary.

    Args:
        device: where the model is: `cpu`, `cuda:0` (its name is added), or "" for a model behind an endpoint.
    """
    torch = sys.modules.get("torch")  # not loaded for this alone
    if torch is not None and device.startswith("cuda"):
        device = f"{device} ({torch.cuda.get_device_name(device)})"
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads() if torch is not None else 1,
        **({"device": device} if device else {}),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "imprint": __version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
