"""The space that both towers share: one unit vector per ImageNet class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.nano.config import EMBED_DIM
from training.nano.wordnet import WordNet

Array = npt.NDArray[np.floating]

MIX_IDENTITY, MIX_WORDNET, MIX_VISUAL = 0.6, 0.15, 0.25
"""What the class vectors' Gram matrix is made of; in sum 1."""


def unit(vectors: Array) -> Array:
    """Scale to length 1 along the last axis; zero stays zero."""
    lengths: Array = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-9)


def classes_below(classes: Sequence[str], wordnet: WordNet) -> dict[str, list[int]]:
    """Return every synset that has ImageNet classes at or below it, with the indices of these classes."""
    below: dict[str, list[int]] = {}
    for index, synset in enumerate(classes):
        # Sorted, because Python orders a set of strings anew in every process and this order goes on into that of the
        # phrases, and with it into what the text tower sees.
        for ancestor in sorted(wordnet.ancestors(synset)):
            below.setdefault(ancestor, []).append(index)
    return below


def wordnet_similarity(below: dict[str, list[int]], n: int) -> Array:
    """Return how much two classes have in common: the information content of their most specific common ancestor.

    Resnik, "Using Information Content to Evaluate Semantic Similarity in a Taxonomy", 1995, with each class equally
    likely: -log(classes below the ancestor / n), over log n so that a class has similarity 1 with itself.

    Returns:
        float64, shape (n, n), in [0, 1].
    """
    similarity = np.zeros((n, n))
    for indices in below.values():
        block = np.ix_(indices, indices)
        similarity[block] = np.maximum(similarity[block], -math.log(len(indices) / n) / math.log(n))
    return similarity


def class_vectors(weight: Array, below: dict[str, list[int]], dim: int = EMBED_DIM) -> Array:
    """Place the classes so that their cosines come as close as `dim` dimensions allow to the mixture of similarities.

    The vectors are the leading eigenvectors of the mixture, scaled by the roots of the eigenvalues: the best
    approximation of a Gram matrix (classical scaling), the construction of Barz and Denzler.

    Args:
        weight: the classifier's weights, shape (n_classes, n_features).
        below: from `classes_below`.
        dim: dimensions of the space, at most n_classes.

    Returns:
        float64, shape (n_classes, dim), unit rows.
    """
    n = len(weight)
    visual = unit(weight - weight.mean(0))
    mixture = MIX_IDENTITY * np.eye(n) + MIX_WORDNET * wordnet_similarity(below, n) + MIX_VISUAL * visual @ visual.T
    eigenvalues, eigenvectors = np.linalg.eigh(mixture)
    leading = np.argsort(-eigenvalues)[:dim]
    return unit(eigenvectors[:, leading] * np.sqrt(np.maximum(eigenvalues[leading], 0)))
