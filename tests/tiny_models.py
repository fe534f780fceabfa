"""Small models with random weights, in open_clip's folder format, for tests that need a real but not a good one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import torch
from safetensors.torch import save_file

CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS: dict[str, Any] = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}


def config(base: dict[str, Any] = CLIP, **changes: Any) -> dict[str, Any]:
    """A model configuration; changes to the towers are merged, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        result[key] = {**result[key], **value} if key in ("vision_cfg", "text_cfg") else value
    return result


SIGMOID = config(init_logit_scale=2.3, init_logit_bias=-10.0)
CUSTOM_TEXT = config(custom_text=True)
EOS_POOLED = config(custom_text=True, text_cfg={"pool_type": "eos", "eos_id": 49407})
# SigLIP's text tower: every position sees every other, and the vector is read off at the last one.
BIDIRECTIONAL = config(
    custom_text=True, text_cfg={"no_causal_mask": True, "pool_type": "last", "proj_bias": True}, init_logit_bias=-10.0
)
CAUSAL_LAST = config(custom_text=True, text_cfg={"pool_type": "last"})
COCA = config(
    custom_text=True,
    vision_cfg={"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 8, "output_tokens": True},
    text_cfg={"embed_cls": True, "output_tokens": True},
    multimodal_cfg={
        "context_length": 24,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 4,
    },
)


def write_config(folder: Path, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg or PREPROCESS})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    return folder


def save(
    folder: Path,
    model_cfg: dict[str, Any] = CLIP,
    preprocess_cfg: dict[str, Any] | None = None,
    *,
    seed: int = 0,
) -> Path:
    """Write a model with random weights and return its folder."""
    write_config(folder, model_cfg, preprocess_cfg)
    save_file(random_weights(folder, seed=seed), folder / "open_clip_model.safetensors")
    return folder


def random_weights(folder: Path, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights for a folder's configuration, all of them random, also those that training starts from zero or one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # open_clip leaves some of CoCa's weights as the memory was, now and then with a NaN.
        with patch("torch.empty", torch.zeros):
            state = open_clip.create_model(f"local-dir:{folder}", load_weights=False).state_dict()
        return {
            name: tensor + 0.02 * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
