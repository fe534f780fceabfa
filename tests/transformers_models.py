"""Small checkpoints of transformers, one of each family: random weights, and tokenizers that are made here.

transformers is imported in functions: where it is not installed, the tests that need it are skipped, not broken.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SIZE = 32
TEXTS = (
    "a photo of a cat",
    "This is a photo of a dog.",
    "柴犬の写真",
    "猫と犬",
    "コーヒーを一杯",
    "café, naïve",
    "0123456789",
)
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_VISION = {**_TOWER, "image_size": SIZE, "patch_size": 8}
_DIM = 24


def save(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of one of `FAMILIES`, all of whose weights are random, and return its folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports warn of changes with every version, and is not ours
        import transformers

        transformers.utils.logging.disable_progress_bar()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, tokenizer, image_processor = FAMILIES[family](transformers)
            for name, parameter in model.named_parameters():
                if name not in ("logit_scale", "logit_bias", "temperature"):
                    parameter.data += (0.3 if family == "align" else 0.1) * torch.randn_like(parameter)
        for part in (model.eval(), tokenizer, image_processor):
            part.save_pretrained(folder)
    return folder


def clip(transformers: Any) -> tuple[Any, Any, Any]:
    tokens = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407, "vocab_size": 49408}
    config = transformers.CLIPConfig(
        text_config={**_TOWER, **tokens, "max_position_embeddings": 32}, vision_config=_VISION, projection_dim=_DIM
    )
    simple = open_clip.SimpleTokenizer()
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    tokenizer = transformers.CLIPTokenizer(
        vocab={renamed.get(token, token): number for token, number in simple.encoder.items()},
        merges=[pair for pair in simple.bpe_ranks if len(pair) == 2],
        model_max_length=32,
    )
    return transformers.CLIPModel(config), tokenizer, _shortest(transformers.CLIPImageProcessor)


def siglip(transformers: Any) -> tuple[Any, Any, Any]:
    return _siglip(transformers, sentencepiece(transformers))


def siglip2(transformers: Any) -> tuple[Any, Any, Any]:
    """SigLIP 2 of a fixed resolution: SigLIP's model behind Gemma's tokenizer."""
    return _siglip(transformers, gemma(transformers))


def _siglip(transformers: Any, tokenizer: Any) -> tuple[Any, Any, Any]:
    config = transformers.SiglipConfig(
        text_config={
            **_TOWER,
            "vocab_size": max(300, len(tokenizer)),
            "max_position_embeddings": 64,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_size": 32,
        },
        vision_config=_VISION,
    )
    model = transformers.SiglipModel(config)
    model.logit_scale.data.fill_(2.3)
    model.logit_bias.data.fill_(-1.0)
    return model, tokenizer, transformers.SiglipImageProcessor(size={"height": SIZE, "width": SIZE})


def altclip(transformers: Any) -> tuple[Any, Any, Any]:
    tokenizer = xlm_roberta(transformers)
    text = {**_TOWER, "vocab_size": len(tokenizer), "project_dim": 20, "max_position_embeddings": 80, "pad_token_id": 1}
    config = transformers.AltCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=_DIM)
    return transformers.AltCLIPModel(config), tokenizer, _shortest(transformers.CLIPImageProcessor)


def chinese_clip(transformers: Any) -> tuple[Any, Any, Any]:
    tokenizer = bert(transformers)
    text = {**_TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 80}
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=_DIM)
    size = {"height": SIZE, "width": SIZE}
    image_processor = transformers.ChineseCLIPImageProcessor(size=size, crop_size=size)
    return transformers.ChineseCLIPModel(config), tokenizer, image_processor


def align(transformers: Any) -> tuple[Any, Any, Any]:
    tokenizer = bert(transformers)
    vision = {
        "image_size": SIZE,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "hidden_dim": _DIM,
        "depth_divisor": 8,
        "kernel_sizes": [3, 3],
        "in_channels": [32, 16],
        "out_channels": [16, 24],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 6],
        "depthwise_padding": [],
    }
    text = {**_TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 80}
    config = transformers.AlignConfig(text_config=text, vision_config=vision, projection_dim=_DIM)
    image_processor = transformers.EfficientNetImageProcessor(
        size={"height": 36, "width": 36}, crop_size={"height": SIZE, "width": SIZE}, do_center_crop=True
    )
    model = transformers.AlignModel(config)
    model.temperature.data.fill_(0.05)
    return model, tokenizer, image_processor


def metaclip_2(transformers: Any) -> tuple[Any, Any, Any]:
    tokenizer = xlm_roberta(transformers)
    text = {
        **_TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.MetaClip2Config(text_config=text, vision_config=_VISION, projection_dim=_DIM)
    return transformers.MetaClip2Model(config), tokenizer, _shortest(transformers.CLIPImageProcessor)


FAMILIES = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": siglip2,
    "altclip": altclip,
    "chinese_clip": chinese_clip,
    "align": align,
    "metaclip_2": metaclip_2,
}
MULTILINGUAL = ("altclip", "metaclip_2", "siglip2")


def _shortest(kind: Any) -> Any:
    return kind(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


# --- tokenizers -------------------------------------------------------------------------------------------------------


def sentencepiece(transformers: Any) -> Any:
    """SigLIP's: a model of sentencepiece; English alone, as SigLIP's first was."""
    import io
    import tempfile

    import sentencepiece as spm

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS if text.isascii()] * 20),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spiece.model")
        file.write_bytes(model.getvalue())
        return transformers.SiglipTokenizer(str(file))


def gemma(transformers: Any) -> Any:
    """SigLIP 2's: byte-pair encoding that falls back to bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trained.decoder = decoders.ByteFallback()
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special + bytes_, show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    model = json.loads(trained.to_str())["model"]
    return transformers.GemmaTokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        add_bos_token=False,
        add_eos_token=True,
        model_max_length=64,
    )


def xlm_roberta(transformers: Any) -> Any:
    """AltCLIP's and MetaCLIP 2's: a unigram model over many scripts."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    pieces = [tuple(piece) for piece in json.loads(trained.to_str())["model"]["vocab"]]
    return transformers.XLMRobertaTokenizer(vocab=pieces, model_max_length=77)


def bert(transformers: Any) -> Any:
    """Chinese-CLIP's and ALIGN's: WordPiece."""
    letters = sorted({letter for text in TEXTS for letter in text.lower() if not letter.isspace()})
    words = ["photo", "cat", "dog", "this", "is"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    return transformers.BertTokenizer(vocab={piece: number for number, piece in enumerate(dict.fromkeys(pieces))})
