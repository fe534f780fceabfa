"""What a model's name says before anything is loaded: whose name it is, and its one spelling.

A cached question must not wait for torch, so names are told apart without open_clip: its architectures are the names of
files beside it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from functools import cache
from importlib import util
from pathlib import Path

logger = logging.getLogger(__name__)

# open_clip's own way of naming a repository of a hub: where it holds both formats, open_clip's is meant. With ``hf:``,
# or nothing before it, transformers' is.
OPEN_CLIP_FIRST = "hf-hub"
_TRANSFORMERS_FIRST = "hf"
_REPOSITORY = re.compile(r"(?P<name>\w[\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)

# Repositories of transformers' checkpoints, and the same weights in open_clip's format.
#
# Source: open_clip.pretrained, whose table names the repository of each tag. Of laion/ and apple/ it is this very
# repository. Of the others open_clip has converted copies under timm/, made from the same releases: of OpenAI (with
# QuickGELU, as they were trained), of google-research/big_vision, and of facebookresearch/MetaCLIP.
TWINS = {
    "openai/clip-vit-base-patch32": "ViT-B-32-quickgelu/openai",
    "openai/clip-vit-base-patch16": "ViT-B-16-quickgelu/openai",
    "openai/clip-vit-large-patch14": "ViT-L-14-quickgelu/openai",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336-quickgelu/openai",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": "ViT-B-32/laion2b_s34b_b79k",
    "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K": "ViT-B-32/datacomp_xl_s13b_b90k",
    "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K": "ViT-B-32-256/datacomp_s34b_b86k",
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": "ViT-B-16/laion2b_s34b_b88k",
    "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K": "ViT-B-16/datacomp_xl_s13b_b90k",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": "ViT-L-14/laion2b_s32b_b82k",
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": "ViT-L-14/datacomp_xl_s13b_b90k",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "ViT-H-14/laion2b_s32b_b79k",
    "laion/CLIP-ViT-g-14-laion2B-s12B-b42K": "ViT-g-14/laion2b_s12b_b42k",
    "laion/CLIP-ViT-g-14-laion2B-s34B-b88K": "ViT-g-14/laion2b_s34b_b88k",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": "ViT-bigG-14/laion2b_s39b_b160k",
    "google/siglip-base-patch16-224": "ViT-B-16-SigLIP/webli",
    "google/siglip-base-patch16-256": "ViT-B-16-SigLIP-256/webli",
    "google/siglip-base-patch16-256-multilingual": "ViT-B-16-SigLIP-i18n-256/webli",
    "google/siglip-base-patch16-384": "ViT-B-16-SigLIP-384/webli",
    "google/siglip-base-patch16-512": "ViT-B-16-SigLIP-512/webli",
    "google/siglip-large-patch16-256": "ViT-L-16-SigLIP-256/webli",
    "google/siglip-large-patch16-384": "ViT-L-16-SigLIP-384/webli",
    "google/siglip-so400m-patch14-224": "ViT-SO400M-14-SigLIP/webli",
    "google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384/webli",
    "google/siglip-so400m-patch16-256-i18n": "ViT-SO400M-16-SigLIP-i18n-256/webli",
    "google/siglip2-base-patch32-256": "ViT-B-32-SigLIP2-256/webli",
    "google/siglip2-base-patch16-224": "ViT-B-16-SigLIP2/webli",
    "google/siglip2-base-patch16-256": "ViT-B-16-SigLIP2-256/webli",
    "google/siglip2-base-patch16-384": "ViT-B-16-SigLIP2-384/webli",
    "google/siglip2-base-patch16-512": "ViT-B-16-SigLIP2-512/webli",
    "google/siglip2-large-patch16-256": "ViT-L-16-SigLIP2-256/webli",
    "google/siglip2-large-patch16-384": "ViT-L-16-SigLIP2-384/webli",
    "google/siglip2-large-patch16-512": "ViT-L-16-SigLIP2-512/webli",
    "google/siglip2-so400m-patch14-224": "ViT-SO400M-14-SigLIP2/webli",
    "google/siglip2-so400m-patch14-384": "ViT-SO400M-14-SigLIP2-378/webli",
    "google/siglip2-so400m-patch16-256": "ViT-SO400M-16-SigLIP2-256/webli",
    "google/siglip2-so400m-patch16-384": "ViT-SO400M-16-SigLIP2-384/webli",
    "google/siglip2-so400m-patch16-512": "ViT-SO400M-16-SigLIP2-512/webli",
    "google/siglip2-giant-opt-patch16-256": "ViT-gopt-16-SigLIP2-256/webli",
    "google/siglip2-giant-opt-patch16-384": "ViT-gopt-16-SigLIP2-384/webli",
    "facebook/metaclip-b32-400m": "ViT-B-32-quickgelu/metaclip_400m",
    "facebook/metaclip-b32-fullcc2.5b": "ViT-B-32-quickgelu/metaclip_fullcc",
    "facebook/metaclip-b16-400m": "ViT-B-16-quickgelu/metaclip_400m",
    "facebook/metaclip-b16-fullcc2.5b": "ViT-B-16-quickgelu/metaclip_fullcc",
    "facebook/metaclip-l14-400m": "ViT-L-14-quickgelu/metaclip_400m",
    "facebook/metaclip-l14-fullcc2.5b": "ViT-L-14-quickgelu/metaclip_fullcc",
    "facebook/metaclip-h14-fullcc2.5b": "ViT-H-14-quickgelu/metaclip_fullcc",
    "facebook/metaclip-2-worldwide-huge-quickgelu": "ViT-H-14-worldwide-quickgelu/metaclip2_worldwide",
    "facebook/metaclip-2-worldwide-huge-378": "ViT-H-14-worldwide-378/metaclip2_worldwide",
    "facebook/metaclip-2-worldwide-giant": "ViT-bigG-14-worldwide/metaclip2_worldwide",
    "facebook/metaclip-2-worldwide-giant-378": "ViT-bigG-14-worldwide-378/metaclip2_worldwide",
    "apple/MobileCLIP-S1-OpenCLIP": "MobileCLIP-S1/datacompdr",
    "apple/MobileCLIP-S2-OpenCLIP": "MobileCLIP-S2/datacompdr",
    "apple/MobileCLIP-B-OpenCLIP": "MobileCLIP-B/datacompdr",
    "apple/MobileCLIP-B-LT-OpenCLIP": "MobileCLIP-B/datacompdr_lt",
}


def has_transformers() -> bool:
    """Whether transformers is installed; found, not imported."""
    return util.find_spec("transformers") is not None


@cache
def architectures() -> frozenset[str]:
    """open_clip's architectures, without importing it."""
    spec = util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        return frozenset()
    return frozenset(file.stem for file in (Path(spec.origin).parent / "model_configs").glob("*.json"))


def repository_of(name: str) -> tuple[str, str | None] | None:
    """Repository and revision that a name in its one spelling stands for; None for a name of another kind."""
    scheme, colon, rest = name.partition(":")
    if colon and (scheme != OPEN_CLIP_FIRST or not rest):
        return None
    if not colon and not _is_repository(name):
        return None
    repository, _, revision = (rest if colon else name).partition("@")
    return repository, revision or None


def in_one_spelling(name: str, *, held: Collection[str] = ()) -> str:
    """The spelling under which a model is recorded, for a name that is no folder.

    Args:
        name: as people write it: ``ORG/NAME``, ``ORG/NAME@REVISION``, either behind ``hf:`` or ``hf-hub:``; or one of
            open_clip's, which stays as it is.
        held: names of models that a library holds. Its vectors under another spelling of the same repository are what
            is meant.
    """
    scheme, colon, rest = name.partition(":")
    if colon and scheme == _TRANSFORMERS_FIRST and _is_repository(rest):
        name = rest
    elif (not colon and _is_repository(name)) or scheme == OPEN_CLIP_FIRST:
        rest = rest or name
    else:
        return name
    if name in held:
        return name
    for spelling in (rest, f"{OPEN_CLIP_FIRST}:{rest}"):
        if spelling in held:
            return spelling
    if rest in TWINS and not has_transformers():
        twin = TWINS[rest]
        logger.info(
            "%s: the same weights in open_clip's format, %s; its own format needs pip install 'zsindex[transformers]'",
            rest,
            twin,
        )
        return twin
    return name


def _is_repository(name: str) -> bool:
    """Whether a name is a hub's. One that is open_clip's, too (``ViT-B-32/openai``, ``ViT-B/32``), is open_clip's."""
    first = name.partition("/")[0]
    return (
        _REPOSITORY.fullmatch(name) is not None
        and first not in architectures()
        and name.replace("/", "-") not in architectures()
    )
