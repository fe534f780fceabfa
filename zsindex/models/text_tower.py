"""open_clip's text tower on rows of tokens that are cut to what their vectors depend on."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.transformer import TextTransformer


class TextTower(torch.nn.Module):
    """`encode_text` on token rows that are cut to what the text tower needs.

    open_clip pads every prompt to the context length. Where attention is causal and the vector is read off at the end
    token, no later position reaches it, so the columns after a batch's last end token can go: the same vectors for a
    fraction of the work. open_clip's encode_text adds the whole positional embedding and the whole mask, so these must
    be cut too. `functional_call` runs open_clip's own code on cut views of the two and puts the originals back, also
    after an exception. A copy of encode_text in here would have to follow every change of open_clip's.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._cut: dict[str, torch.Tensor] = {}
        self.end_token: int | None = None
        # Exact types: a subclass, or CoCa with its class token at the end, may read what comes after the end token.
        if type(model) is open_clip.CLIP:
            tower, prefix, pool, end_token = model, "model.", model.text_pool_type, model.text_eos_id
        elif type(model) is open_clip.CustomTextCLIP and type(model.text) is TextTransformer:
            tower, prefix, pool, end_token = model.text, "model.text.", model.text.pool_type, model.text.eos_id
        else:
            return
        if tower.attn_mask is None or getattr(tower, "cls_emb", None) is not None or pool not in ("argmax", "eos"):
            return
        self._cut = {
            f"{prefix}positional_embedding": tower.positional_embedding,
            f"{prefix}attn_mask": tower.attn_mask,
        }
        self.end_token = end_token if pool == "eos" else None

    @property
    def can_be_cut(self) -> bool:
        """Whether columns after the end token may be left out."""
        return bool(self._cut)

    def needed_lengths(self, tokens: torch.Tensor) -> torch.Tensor:
        """Leading columns that each row's vector depends on, as int64 of shape (rows,); all where nothing may be cut.

        The end token is found as open_clip's text_global_pool finds it: the first place of the end token or, where the
        pooling is "argmax", of the highest token.
        """
        if not self._cut:
            return torch.full((len(tokens),), tokens.shape[1])
        marks = tokens if self.end_token is None else (tokens == self.end_token).int()
        return marks.argmax(dim=-1) + 1

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode rows cut to any length that is no less than their `needed_lengths`; features are not normalised."""
        n = tokens.shape[1]
        views = {name: whole[:n, :n] if name.endswith("attn_mask") else whole[:n] for name, whole in self._cut.items()}
        # The two are tied to nothing; looking for ties would walk the whole model, longer than a short prompt takes.
        features: torch.Tensor = torch.func.functional_call(self, views, (tokens,), tie_weights=False)
        return features

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What `encode` calls with cut views in place of the originals."""
        features: torch.Tensor = self.model.encode_text(tokens, normalize=False)
        return features
