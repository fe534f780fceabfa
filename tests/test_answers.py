"""How classifications are written: the same bytes as Python's own modules write from the same results."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from wcwidth import wcswidth
from zsindex.cli.answers import _thousandths, write
from zsindex.cli.streams import shown

from zsindex.classification import results
from zsindex.classification.results import Classification, Run
from zsindex.records import Activation

LABELS = ("cat", "赤い車", 'quo"te', "com,ma", "%s {0}", "tab\tbed", "a\\b", "e\u0301cole", "😀", "new\nline")
NAMES = (
    *("plain.jpg", "with space.jpg", "trailing space ", 'quo"te.jpg', "com,ma.jpg", "new\nline.jpg", "cr\r.jpg"),
    *("tab\t.jpg", "control\x01.jpg", "back\\slash.jpg", "%s.jpg", "{0}.jpg", "{x!r}.jpg", "'single'.jpg", "@", "0.5"),
    *("日本語.jpg", "é.jpg", "e\u0301.jpg", "😀.jpg", "\u2028.jpg", "\x85.jpg", "<&>.jpg", "nul\\u0000.jpg"),
)


def answers(paths: list[str], *, top: int = 3) -> Classification:
    """Random scores, among them those that are hard to write: 0, 1, the smallest, exact ties of the third decimal."""
    random = np.random.default_rng(len(paths))
    best = np.array([random.permutation(len(LABELS))[:top] for _ in paths], dtype=np.int64).reshape(-1, top)
    scores = random.random((len(paths), top), dtype=np.float32) ** 4
    odd = np.array([0.0, 1.0, 1e-45, 0.0625, 0.1875, 0.9375, 0.0005, 0.9995, 1e-5, 0.1], dtype=np.float32)
    scores.flat[: odd.size] = odd[: scores.size]
    run = Run(
        model="fake",
        fingerprint="0" * 64,
        decode="exact",
        precision="fp32",
        labels=LABELS,
        label_set=None,
        labels_sha256="1" * 64,
        templates=("{}",),
        activation=Activation.SOFTMAX,
        logit_scale=10.0,
        logit_bias=None,
        watermark=1,
        generation=0,
        files_revision=1,
        options=(("top", top),),
        version="0",
    )
    return Classification(
        paths=paths,
        labels=LABELS,
        best=best,
        best_scores=-np.sort(-scores, axis=1),
        all_scores=lambda rows: np.zeros((len(rows), len(LABELS)), dtype=np.float32),
        run=run,
    )


SOME = [f"{folder}/{name}" for folder in ("", "/a b", "/写真") for name in NAMES]
CASES = {
    "all": answers(SOME),
    "one label each": answers(SOME, top=1),
    "more labels than usual": answers(SOME, top=len(LABELS)),
    "some predictions left out": answers(SOME, top=5).filtered(min_score=0.3),
    "none left": answers(SOME).filtered(min_score=0.2, only=["cat"]).filtered(min_score=1.0, only=["com,ma"]),
    "one photo": answers(SOME[:1]),
    "no photo": answers([]),
}


@pytest.fixture(params=CASES)
def result(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Classification:
    monkeypatch.setattr(results, "BLOCK_PHOTOS", 7)
    return CASES[request.param]


def written(result: Classification, fmt: str) -> str:
    out = io.StringIO(newline="")
    write(result, fmt, out)
    return out.getvalue()


def test_json_is_what_the_json_module_writes(result: Classification) -> None:
    document = {"run": result.run.to_dict(), "results": result.to_dicts()}
    assert written(result, "json") == json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def test_ndjson_is_what_the_json_module_writes(result: Classification) -> None:
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in result.to_dicts()]
    assert written(result, "ndjson") == "".join(lines)


def test_csv_is_what_the_csv_module_writes(result: Classification) -> None:
    rows = [["path", "rank", "label", "score"], *result.to_rows()]
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    # Its line ends, which alone make it quote both of the characters that end lines, are told from those within texts.
    ours = written(result, "csv")
    assert list(csv.reader(io.StringIO(ours, newline=""), strict=True)) == [[str(cell) for cell in row] for row in rows]
    assert len(ours) == len(out.getvalue()) - len(rows)
    assert ours.replace("\r", "").replace("\n", "") == out.getvalue().replace("\r", "").replace("\n", "")


def test_the_table_has_a_padded_line_for_each_photo(result: Classification) -> None:
    most = max((len(one.predictions) for one in result), default=0)
    width = max(wcswidth(shown(label)) for label in LABELS)
    lines = []
    for one in result:
        cells = [
            cell
            for p in one.predictions
            for cell in (shown(p.label) + " " * (width - wcswidth(shown(p.label))), f"{p.score:.3f}")
        ]
        cells += [" " * width, " " * 5] * (most - len(one.predictions))
        lines.append("  ".join([*cells, shown(one.path)]).rstrip() + "\n")
    assert written(result, "table") == "".join(lines)


def test_paths_are_lines(result: Classification) -> None:
    assert written(result, "paths") == "".join(f"{one.path}\n" for one in result)


def test_blocks_and_counts_hold_what_iterating_gives(result: Classification) -> None:
    seen = []
    for block in result.blocks():
        assert len(block.paths) <= 7
        for i, path in enumerate(block.paths):
            ranks = range(block.counts[i])
            seen.append((path, [(LABELS[block.labels[r][i]], block.scores[r][i]) for r in ranks]))
    assert seen == [(one.path, [(p.label, p.score) for p in one.predictions]) for one in result]
    assert result.counts.tolist() == [len(one.predictions) for one in result]


def test_the_cases_are_what_they_are_called() -> None:
    assert len(set(CASES["some predictions left out"].counts.tolist())) > 2
    assert [len(CASES[name]) for name in ("none left", "one photo", "no photo")] == [0, 1, 0]


def test_scores_are_shown_as_formatting_would_show_them() -> None:
    """Also those in the middle of two thousandths, which float32 holds exactly: 0.0625 and 0.1875 among them."""
    random = np.random.default_rng(0)
    halves = np.arange(0, 1025, dtype=np.float32) / 1024
    near = np.concatenate([np.nextafter(halves, np.float32(0)), np.nextafter(halves[:-1], np.float32(1))])
    scores = np.concatenate([halves, near, random.random(20_000, dtype=np.float32)]).tolist()
    assert _thousandths(scores) == [f"{score:.3f}" for score in scores]
