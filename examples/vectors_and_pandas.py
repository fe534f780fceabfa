"""Vectors in and out of pandas: compute with them, write them to files that other programs read, and take some back.

    python examples/vectors_and_pandas.py

Needs pandas, and for the files `pip install 'zsindex[parquet]'`.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from zsindex import Library
from zsindex.photos import samples

LABELS = ["cat", "person", "rocket", "cup of coffee", "grass", "stars", "document", "camera"]

with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary)
    with Library.open(folder / "library", model="nano") as library:
        library.sync(samples.photos())

        # Answers as a table: a row per photo and rank.
        answers = library.classify(LABELS, top=2)
        table = answers.to_pandas()
        table["path"] = table["path"].map(lambda path: Path(path).name)
        print(table.head(4).round(2).to_string(index=False))

        # The vectors behind them: float32, one row per photo, of length 1, so that a product of two is their cosine.
        names = [Path(path).name for path in answers.paths]
        vectors = library.vectors.of(answers.image_ids)
        cosines = pd.DataFrame(vectors @ vectors.T, index=names, columns=names)
        nearest = cosines.mask(np.eye(len(names), dtype=bool)).idxmax()
        print(f"\nThe nearest other photo\n{nearest.to_string()}")

        # Out: the layout of clip-retrieval, a matrix and a table with the same rows.
        library.vectors.export_to(folder / "vectors")

    photos = pd.read_parquet(folder / "vectors" / "metadata" / "metadata_0.parquet")
    photos["vector"] = list(np.load(folder / "vectors" / "img_emb" / "img_emb_0.npy"))
    numbers = len(photos["vector"].iloc[0])
    print(f"\n{len(photos)} photos of {numbers} numbers each, {photos['width'].max()} pixels wide at most")

    # In: any such folder, whoever wrote it. Here only photos in landscape format go into another library.
    wide = photos[photos["width"] > photos["height"]]
    chosen = folder / "wide"
    for name in ("img_emb", "metadata"):
        (chosen / name).mkdir(parents=True)
    np.save(chosen / "img_emb" / "img_emb_0.npy", np.stack(wide["vector"].to_list()))
    wide.drop(columns="vector").to_parquet(chosen / "metadata" / "metadata_0.parquet")

    with Library.open(folder / "other", model="nano") as other:
        report = other.vectors.import_from(chosen)
        best = other.search("something to drink", top=1)[0]
        print(f"{report.stored} vectors taken in, and nothing encoded; something to drink: {Path(best.path).name}")
