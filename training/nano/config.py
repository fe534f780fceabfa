"""What the model is: its size and open_clip configuration. Constants of a single step stand in that step's module."""

from __future__ import annotations

from typing import Any

EMBED_DIM = 512
IMAGE_SIZE = 256
CONTEXT = 32
"""Tokens that the text tower reads. CLIP's 77 would only be padding: labels are short."""

LOGIT_SCALE = 25.0
"""About where the likelihood of the right label peaks, for coarse and for fine label sets."""

VOCABULARY_SIZE = 49408
"""Of CLIP's byte-pair encoding."""

TEXT = {
    "context_length": CONTEXT,
    "vocab_size": VOCABULARY_SIZE,
    "width": 160,
    "heads": 5,
    "layers": 2,
    "mlp_ratio": 2.0,
}

OPEN_CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "mlp",
            "timm_proj_bias": False,
            "image_size": IMAGE_SIZE,
        },
        "text_cfg": TEXT,
    },
    "preprocess_cfg": {
        "size": IMAGE_SIZE,
        "mode": "RGB",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    },
}
"""The contents of `open_clip_config.json`."""
