"""Template sets, by name: prompts around a label that work well together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from zsindex.arguments.several import several
from zsindex.errors import BadTemplate

__all__ = [
    "BUILT_IN",
    "DEFAULT_TEMPLATE",
    "has_place",
    "put",
    "resolve",
]

DEFAULT_TEMPLATE = "This is a photo of {}."
_PLACEHOLDERS = ("{}", "{label}", "{c}")

# `openai-80` and `openai-7` are published: the eighty that CLIP's authors wrote for ImageNet, and the seven that they
# found to do nearly as well (notebooks/Prompt_Engineering_for_ImageNet.ipynb of openai/CLIP, 2021).
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "default": (DEFAULT_TEMPLATE,),
    "plain": ("{}",),
    "openai-7": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "openai-80": (
        "a bad photo of a {}.",
        "a photo of many {}.",
        "a sculpture of a {}.",
        "a photo of the hard to see {}.",
        "a low resolution photo of the {}.",
        "a rendering of a {}.",
        "graffiti of a {}.",
        "a bad photo of the {}.",
        "a cropped photo of the {}.",
        "a tattoo of a {}.",
        "the embroidered {}.",
        "a photo of a hard to see {}.",
        "a bright photo of a {}.",
        "a photo of a clean {}.",
        "a photo of a dirty {}.",
        "a dark photo of the {}.",
        "a drawing of a {}.",
        "a photo of my {}.",
        "the plastic {}.",
        "a photo of the cool {}.",
        "a close-up photo of a {}.",
        "a black and white photo of the {}.",
        "a painting of the {}.",
        "a painting of a {}.",
        "a pixelated photo of the {}.",
        "a sculpture of the {}.",
        "a bright photo of the {}.",
        "a cropped photo of a {}.",
        "a plastic {}.",
        "a photo of the dirty {}.",
        "a jpeg corrupted photo of a {}.",
        "a blurry photo of the {}.",
        "a photo of the {}.",
        "a good photo of the {}.",
        "a rendering of the {}.",
        "a {} in a video game.",
        "a photo of one {}.",
        "a doodle of a {}.",
        "a close-up photo of the {}.",
        "a photo of a {}.",
        "the origami {}.",
        "the {} in a video game.",
        "a sketch of a {}.",
        "a doodle of the {}.",
        "a origami {}.",
        "a low resolution photo of a {}.",
        "the toy {}.",
        "a rendition of the {}.",
        "a photo of the clean {}.",
        "a photo of a large {}.",
        "a rendition of a {}.",
        "a photo of a nice {}.",
        "a photo of a weird {}.",
        "a blurry photo of a {}.",
        "a cartoon {}.",
        "art of a {}.",
        "a sketch of the {}.",
        "a embroidered {}.",
        "a pixelated photo of a {}.",
        "itap of the {}.",
        "a jpeg corrupted photo of the {}.",
        "a good photo of a {}.",
        "a plushie {}.",
        "a photo of the nice {}.",
        "a photo of the small {}.",
        "a photo of the weird {}.",
        "the cartoon {}.",
        "art of the {}.",
        "a drawing of the {}.",
        "a photo of the large {}.",
        "a black and white photo of a {}.",
        "the plushie {}.",
        "a dark photo of a {}.",
        "itap of a {}.",
        "graffiti of the {}.",
        "a toy {}.",
        "itap of my {}.",
        "a photo of a cool {}.",
        "a photo of a small {}.",
        "a tattoo of the {}.",
    ),
}

_PLACEHOLDER = re.compile("|".join(re.escape(placeholder) for placeholder in _PLACEHOLDERS))


def has_place(text: str) -> bool:
    """Whether a text is a template: it has a place for the label."""
    return _PLACEHOLDER.search(text) is not None


def put(label: str, template: str) -> str:
    """Put a label into all places of a template.

    Plain replacement in one pass instead of `str.format`, so that other braces in templates, and braces in labels, are
    kept.
    """
    return _PLACEHOLDER.sub(lambda _: label, template)


def resolve(templates: str | Sequence[str], saved: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
    """Templates from a mix of templates and names of template sets, in order, each once.

    Args:
        templates: one without a place for the label is a name, of a built-in set or of one in `saved`.
        saved: more sets, by name.

    Raises:
        BadTemplate: neither a template nor a known name.
    """
    known = {**(saved or {}), **BUILT_IN}
    found: dict[str, None] = {}
    for text in several(templates):
        if has_place(text):
            found[text] = None
        elif text in known:
            found.update(dict.fromkeys(known[text]))
        else:
            raise BadTemplate(text, known=list(known))
    return tuple(found)
