"""Writing the model as open_clip's folder format has it: a configuration and the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from training.nano.config import OPEN_CLIP


def write_model(model: Any, folder: Path) -> int:
    """Write `open_clip_config.json` and `open_clip_model.safetensors`; return their size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    config, weights = folder / "open_clip_config.json", folder / "open_clip_model.safetensors"
    config.write_text(json.dumps(OPEN_CLIP, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: stored(name, tensor) for name, tensor in model.state_dict().items()}, weights, metadata={"format": "pt"}
    )
    weights.chmod(0o644)  # save_file leaves it readable for its owner alone
    return config.stat().st_size + weights.stat().st_size


def stored(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in half precision, but for batch normalisation and the logit scale: small, and sensitive."""
    keep = not tensor.is_floating_point() or "running_" in name or ".bn" in name or name == "logit_scale"
    return tensor.contiguous().clone() if keep else tensor.half().contiguous()
