"""Tags in sidecars: are they read back by exiftool, and do they go again without a trace?

    python benchmarks/lab_tags.py
    python benchmarks/lab_tags.py PHOTOS --model MODEL

Photos are copied into a temporary folder. A third of them gets a sidecar first, written by exiftool with tags of its
own; then zsindex writes the best of a few everyday labels beside every photo. exiftool reads all sidecars, and what it
says is compared with the answers. Another program (exiftool) changes a tenth of the sidecars. Then zsindex takes its
tags back, and every file is compared with what it was. The photos themselves are compared, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from zsindex import Library

HERE = Path(__file__).parent
DEFAULT = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", HERE.parents[1] / "shared" / "photos" / "imagenet-sample"))
LABELS = sorted(json.loads((HERE / "everyday_labels.json").read_text(encoding="utf-8")))
EMPTY = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
)
PROPERTIES = {"Subject": "", "HierarchicalSubject": "zsindex|", "TagsList": "zsindex/"}


def exiftool(*arguments: str, files: list[Path]) -> str:
    """Run exiftool once for all files."""
    names = "".join(f"{file}\n" for file in files)
    done = subprocess.run(
        ["exiftool", "-q", "-m", *arguments, "-@", "-"], input=names, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout


def contents(files: list[Path]) -> dict[Path, str]:
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()}


def tags_read(files: list[Path]) -> dict[Path, dict[str, list[str]]]:
    documents = json.loads(exiftool("-json", *(f"-XMP:{name}" for name in PROPERTIES), files=files))
    return {
        Path(document["SourceFile"]): {
            name: value if isinstance(value := document.get(name, []), list) else [value] for name in PROPERTIES
        }
        for document in documents
    }


def measure(photos: list[Path], model: str, style: str, folder: Path) -> list[tuple[str, str]]:
    album = folder / "album"
    album.mkdir()
    for photo in photos:
        shutil.copyfile(photo, album / photo.name)
    copies = sorted(album.iterdir())
    sidecars = {
        photo: Path(f"{photo}.xmp" if style == "photo.jpg.xmp" else photo.with_suffix(".xmp")) for photo in copies
    }
    before_any = contents(copies)
    # exiftool makes sidecars from nothing, each with a tag of its own and a label that zsindex may also give.
    others = [sidecars[photo] for photo in copies[::3]]
    for file in others:
        file.write_text(EMPTY, encoding="utf-8")
    exiftool("-overwrite_original", "-XMP:Rating=4", "-XMP-dc:Subject=holiday", "-XMP-dc:Subject=dog", files=others)
    before = contents(others)
    with Library.open(folder / "library", model=model) as library:
        library.sync(album)
        answers = library.classify(LABELS, top=1)
        report = library.tags.write(answers, style=style, apply=True)
        assert not report.skipped, report.skipped
        read = tags_read(list(sidecars.values()))
        n = len(answers)
        agree = {
            name: sum(prefix + answer.label in read[sidecars[Path(answer.path)]][name] for answer in answers)
            for name, prefix in PROPERTIES.items()
        }
        extra = sum(
            len(set(read[file]["Subject"]) - {"holiday", "dog"} - {answer.label})
            for answer in answers
            for file in [sidecars[Path(answer.path)]]
        )
        kept = sum("holiday" in read[file]["Subject"] and "dog" in read[file]["Subject"] for file in others)
        changed = [sidecars[photo] for photo in copies[::10]]
        exiftool("-overwrite_original", "-XMP:Label=seen", "-XMP-dc:Subject+=added later", files=changed)
        library.tags.retract(apply=True)
    untouched = [file for file in others if file not in changed]
    after = contents(untouched)
    made = [file for file in sidecars.values() if file not in others and file not in changed]
    left = tags_read(changed)
    want = {file: {"added later", *({"holiday", "dog"} if file in others else ())} for file in changed}
    clean = sum(
        set(left[file]["Subject"]) == want[file]
        and not left[file]["HierarchicalSubject"]
        and not left[file]["TagsList"]
        for file in changed
    )
    photos_same = sum(before_any[photo] == sha256 for photo, sha256 in contents(copies).items())
    return [
        *((f"{name} read by exiftool as zsindex wrote it", f"{count} of {n}") for name, count in agree.items()),
        ("tags that exiftool reads and nobody wrote", f"{extra}"),
        ("sidecars of others whose own tags were still there", f"{kept} of {len(others)}"),
        (
            "sidecars of others, restored to the byte",
            f"{sum(before[f] == after.get(f) for f in untouched)} of {len(untouched)}",
        ),
        ("sidecars made by zsindex that are gone", f"{sum(not file.exists() for file in made)} of {len(made)}"),
        ("changed by exiftool since, without zsindex's tags and with all others", f"{clean} of {len(changed)}"),
        ("photos whose bytes are what they were", f"{photos_same} of {len(copies)}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", default=DEFAULT, type=Path, help="a folder (default: %(default)s)")
    parser.add_argument("--model", default="nano")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"there is no folder {args.photos}; name one, or set ZSINDEX_TEST_PHOTOS")
    if shutil.which("exiftool") is None:
        sys.exit("exiftool is not installed; on Debian it is in libimage-exiftool-perl")
    photos = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    columns = []
    for style in ("photo.jpg.xmp", "photo.xmp"):
        with tempfile.TemporaryDirectory() as folder:
            columns.append(measure(photos, args.model, style, Path(folder)))
    rows = [(first[0], first[1], second[1]) for first, second in zip(*columns, strict=True)]
    print(tabulate(rows, ("", "photo.jpg.xmp", "photo.xmp"), tablefmt="github"))


if __name__ == "__main__":
    main()
