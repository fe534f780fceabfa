"""Training of the text tower: text in, target vector out."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- its usual name

from training.nano.config import LOGIT_SCALE
from training.nano.sampling import TextSampler
from training.nano.space import Array

KL_WEIGHT = 0.3
WARMUP_STEPS = 150
PEAK_RATE_TABLE, PEAK_RATE_REST = 1.5e-3, 2e-3
TOKEN_STD = 0.05

log = logging.getLogger(__name__)


@torch.no_grad()
def start_token_table(model: Any, embeddings: Array) -> None:
    """Let the token table start from the teacher's view of each token's text, by principal components.

    Tokens of like meaning then start alike, so that training on some of them carries over to the others: the phrases
    reach only a part of the 49,408.

    Args:
        model: an open_clip CLIP.
        embeddings: the teacher's, shape (vocabulary, teacher dim), vocabulary order.
    """
    centred = embeddings - embeddings.mean(0)
    _, _, components = np.linalg.svd(centred.T @ centred)
    reduced = centred @ components[: model.token_embedding.embedding_dim].T
    model.token_embedding.weight.copy_(torch.from_numpy(reduced / reduced.std() * TOKEN_STD))


def train_text(model: Any, sampler: TextSampler, class_vectors: Array, steps: int, batch: int) -> None:
    """Train the text tower of an open_clip CLIP in place.

    The loss has two parts: 1 - cosine to the target, and the divergence between the distributions over ImageNet's
    classes that text vector and target give at the model's own logit scale. The cosine alone weighs all directions
    alike; the divergence is about the errors that change an answer.
    """
    table = [model.token_embedding.weight]
    rest = [
        model.positional_embedding,
        *model.transformer.parameters(),
        *model.ln_final.parameters(),
        model.text_projection,
    ]
    optimizer = torch.optim.Adam(
        [{"params": table, "peak": PEAK_RATE_TABLE}, {"params": rest, "peak": PEAK_RATE_REST}],
        betas=(0.9, 0.98),
        fused=True,
    )
    classes = torch.from_numpy(class_vectors).float()
    model.train()
    started = time.monotonic()
    average: list[float] = []
    for step in range(steps):
        factor = rate_factor(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        buckets = sampler.batch(batch)
        vectors = encode(model, [bucket.tokens for bucket in buckets])
        targets = torch.cat([bucket.targets for bucket in buckets])
        cosine = (vectors * targets).sum(-1).mean()
        divergence = F.kl_div(
            F.log_softmax(LOGIT_SCALE * vectors @ classes.T, -1),
            F.softmax(LOGIT_SCALE * targets @ classes.T, -1),
            reduction="batchmean",
        )
        optimizer.zero_grad(set_to_none=True)
        (1 - cosine + KL_WEIGHT * divergence).backward()
        optimizer.step()
        now = [cosine.item(), divergence.item()]
        average = [0.98 * a + 0.02 * b for a, b in zip(average or now, now, strict=True)]
        if step % 250 == 0 or step == steps - 1:
            rate = (step + 1) * batch / (time.monotonic() - started)
            log.info("step %d/%d: cosine %.4f, divergence %.4f, %.0f texts/s", step, steps, *average, rate)
    model.eval()


def rate_factor(step: int, steps: int) -> float:
    """Return the learning rate as a fraction of its peak: a linear start, then half a cosine, never quite zero."""
    return min(1, (step + 1) / WARMUP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 0.005


def encode(model: Any, buckets: list[torch.Tensor]) -> torch.Tensor:
    """Encode batches of different lengths as `encode_text` would, without padding them to the context length.

    The tower is causal and pools at the end token, so what follows that token has no effect. All buckets share one
    look-up in the token table: its gradient is as large as the table itself, and is then made once.
    """
    looked_up = model.token_embedding(torch.cat([tokens.flatten() for tokens in buckets]))
    pooled = []
    for tokens, embedded in zip(buckets, looked_up.split([tokens.numel() for tokens in buckets]), strict=True):
        n, length = tokens.shape
        hidden = embedded.view(n, length, -1) + model.positional_embedding[:length]
        hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
        pooled.append(hidden[torch.arange(n), tokens.argmax(-1)])  # the end token has the largest id
    return F.normalize(model.ln_final(torch.cat(pooled)) @ model.text_projection, dim=-1)
