"""One random ViT-B-32 as each program wants it: open_clip's folder, its checkpoint file, and a transformers folder.

Weights of the same shapes take the same time, whatever they were trained for, and nothing has to be downloaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

ARCHITECTURE = "ViT-B-32"


@dataclass(frozen=True)
class SameWeights:
    """Paths of the three forms: `folder` of open_clip, `checkpoint` for it, folder `transformers`."""

    folder: Path
    checkpoint: Path
    transformers: Path


def make(target: Path) -> SameWeights:
    """Write them below `target`; about 1.8 GB."""
    made = SameWeights(target / "open_clip", target / f"{ARCHITECTURE}.pt", target / "transformers")
    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE).eval()
    # What training does to it; the fresh value of 14 would leave all labels with nearly the same score.
    model.logit_scale.data.fill_(float(np.log(100)))
    state = model.state_dict()
    torch.save(state, made.checkpoint)

    made.folder.mkdir(parents=True)
    config = open_clip.get_model_config(ARCHITECTURE)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    document = {"model_cfg": config, "preprocess_cfg": {**preprocess, "interpolation": "bicubic"}}
    (made.folder / "open_clip_config.json").write_text(json.dumps(document), encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, made.folder / "open_clip_model.safetensors"
    )

    _write_transformers(config, state, made.transformers)
    return made


def _write_transformers(config: dict[str, Any], state: dict[str, torch.Tensor], folder: Path) -> None:
    import transformers

    text, vision = config["text_cfg"], config["vision_cfg"]
    size = vision["image_size"]
    model = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={
                **_tower(text, heads=text["heads"]),
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
                "bos_token_id": 49406,
                "eos_token_id": 49407,
                "pad_token_id": 49407,
            },
            vision_config={
                **_tower(vision, heads=vision["width"] // 64),
                "image_size": size,
                "patch_size": vision["patch_size"],
            },
            projection_dim=config["embed_dim"],
        )
    )
    # Strict: a name that is wrong or missing is an error.
    model.load_state_dict(_in_their_names(state, text["layers"], vision["layers"]))
    model.save_pretrained(folder)
    simple = open_clip.SimpleTokenizer()
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    transformers.CLIPTokenizer(
        vocab={renamed.get(token, token): number for token, number in simple.encoder.items()},
        merges=[pair for pair in simple.bpe_ranks if len(pair) == 2],
        model_max_length=text["context_length"],
    ).save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(folder)


def _tower(config: dict[str, Any], *, heads: int) -> dict[str, Any]:
    width = config["width"]
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": config["layers"],
        "num_attention_heads": heads,
        "hidden_act": "gelu",
    }


def _in_their_names(state: dict[str, torch.Tensor], text_layers: int, vision_layers: int) -> dict[str, torch.Tensor]:
    """An open_clip model's tensors under the names of a CLIPModel: both stem from OpenAI's release."""
    theirs = {
        "logit_scale": state["logit_scale"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_projection.weight": state["text_projection"].T,
    }
    renamed = {
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        "text_model.final_layer_norm": "ln_final",
    }
    for their, mine, layers in (
        ("vision_model.encoder", "visual.transformer", vision_layers),
        ("text_model.encoder", "transformer", text_layers),
    ):
        for number in range(layers):
            block, target = f"{mine}.resblocks.{number}", f"{their}.layers.{number}"
            for kind in ("weight", "bias"):
                parts = state[f"{block}.attn.in_proj_{kind}"].chunk(3)
                for name, part in zip("qkv", parts, strict=True):
                    theirs[f"{target}.self_attn.{name}_proj.{kind}"] = part
            renamed |= {
                f"{target}.layer_norm1": f"{block}.ln_1",
                f"{target}.layer_norm2": f"{block}.ln_2",
                f"{target}.self_attn.out_proj": f"{block}.attn.out_proj",
                f"{target}.mlp.fc1": f"{block}.mlp.c_fc",
                f"{target}.mlp.fc2": f"{block}.mlp.c_proj",
            }
    for their, mine in renamed.items():
        theirs |= {f"{their}.{kind}": state[f"{mine}.{kind}"] for kind in ("weight", "bias")}
    return theirs
