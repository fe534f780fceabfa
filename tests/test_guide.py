"""The guide, line by line: the blocks of docs/guide.md and docs/guide.ja.md run, with transformers and with zsindex.

They run as they stand, in a process of their own, which finds the checkpoint in a model hub's cache: a small one
with random weights. The images come from a web server of this process.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

pytest.importorskip("transformers", reason="transformers is an extra")

from tests import test_reference as reference
from tests.test_pipeline import DIFFERENT
from zsindex import pipeline
from zsindex.zero_shot.pipeline import ZeroShotImageClassifier

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ["guide.md", "guide.ja.md"]
BLOCK = re.compile(r"<!-- (transformers|zsindex|both): (\w+) -->\n```python\n(.*?)```", re.DOTALL)
CHECKPOINT = "openai/clip-vit-large-patch14"

PROGRAM = """
import json, sys
answers = {}
for way, code in json.load(sys.stdin).items():
    names = {}
    exec(compile(code, way, "exec"), names)
    assert type(names["result"][0]["score"]).__name__ == "float32"
    result = [{**one, "score": float(one["score"])} for one in names["result"]]
    answers[way] = {"predictions": names["predictions"], "result": result, "scores": names["scores"]}
print(json.dumps(answers))
"""


def blocks(page: str) -> list[tuple[str, str, str]]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of a model hub that holds the guide's checkpoint."""
    home = tmp_path_factory.mktemp("hub")
    repository = home / "hub" / f"models--{CHECKPOINT.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports warn of changes with every version, and is not ours
        import transformers

        tokenizer = reference.transformers_tokenizer(transformers)
        size = {"height": 64, "width": 64}
        image_processor = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=size)
        reference.transformers_clip(transformers).save_pretrained(snapshot)
        transformers.CLIPProcessor(image_processor, tokenizer).save_pretrained(snapshot)
    return home


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a web server with two photographs."""
    found = {}
    for path, array in (("/owl", data.chelsea()), ("/tree", data.coffee())):
        out = BytesIO()
        Image.fromarray(array).save(out, "JPEG", quality=95)
        found[path] = out.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(found[self.path])

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(page: str, hub: Path, site: str) -> Any:
    pytest.importorskip("requests")  # the guide's, not zsindex's
    ways = {}
    for way in ("transformers", "zsindex"):
        code = "\n".join(text for kind, _, text in blocks(page) if kind in (way, "both"))
        urls = iter(["/owl", "/tree"])
        ways[way] = re.sub(r"https://unsplash\.com/[^\"]+", lambda _, urls=urls: site + next(urls), code)
        assert CHECKPOINT in ways[way]
    environment = os.environ | {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1", "no_proxy": "*", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(ways),
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=environment,
        cwd=DOCS.parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_guides_code_gives_the_same_answers(hub: Path, site: str) -> None:
    answers = run("guide.md", hub, site)  # the other page has the same blocks, see below
    theirs, ours = answers["transformers"], answers["zsindex"]
    for name in ("predictions", "result"):
        assert [one["label"] for one in ours[name]] == [one["label"] for one in theirs[name]]
        assert [one["score"] for one in ours[name]] == pytest.approx([one["score"] for one in theirs[name]], abs=1e-5)
        assert max(one["score"] for one in ours[name]) > min(one["score"] for one in ours[name])
    assert ours["scores"] == pytest.approx(theirs["scores"], abs=1e-5)


def test_the_pages_have_the_same_blocks() -> None:
    english, japanese = (blocks(page) for page in PAGES)
    assert english == japanese
    assert [(kind, name) for kind, name, _ in english] == [
        ("transformers", "pipeline"),
        ("zsindex", "pipeline"),
        ("both", "image"),
        ("both", "predictions"),
        ("transformers", "model"),
        ("zsindex", "model"),
        ("both", "inputs"),
        ("transformers", "result"),
        ("zsindex", "result"),
    ]


def test_zsindexs_imports_are_all_that_changes() -> None:
    of = {kind: [text for one, _, text in blocks("guide.md") if one == kind] for kind in ("transformers", "zsindex")}
    for theirs, ours in zip(of["transformers"][:2], of["zsindex"][:2], strict=True):
        assert theirs.replace("from transformers import", "from zsindex import") == ours


def tables(page: str) -> list[list[str]]:
    rows = re.findall(r"^\| (.*?) \|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [re.split(r", (?=[^()]*(?:\(|$))", row.replace("`", "")) for row in rows]


def test_every_argument_is_in_a_table() -> None:
    named = {name for row in tables("guide.md") for name in row}
    for function in (pipeline, ZeroShotImageClassifier.__call__):
        missing = set(inspect.signature(function).parameters) - named - {"self"}
        assert not missing, f"docs/guide.md does not say what {missing} do"


def test_every_difference_is_in_the_table_and_no_other() -> None:
    text = (DOCS / "guide.md").read_text(encoding="utf-8")
    table = text[text.index("## Where the two differ") :]
    found = [name for row in re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE) for name in row.split(", ")]
    assert sorted(found) == sorted(DIFFERENT)
