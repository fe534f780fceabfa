"""Check what is about to be published: ``python .ci/check_distributions.py``, after ``python -m build``.

A package that was not listed, or a page that was not grafted, would show only to those who install it. So the two files
in `dist/` are compared with what git tracks.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Where the folders of the repository are installed; see [tool.setuptools] in pyproject.toml.
INSTALLED = {"zsindex/": "zsindex/", "cli/": "zsindex/cli/", "migrations/": "zsindex/migrations/"}
# Only git needs it.
UNPUBLISHED = {".gitignore"}


def main() -> int:
    """Say what is wrong; how many things are."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (source,) = (ROOT / "dist").glob("*.tar.gz")
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.split()
    )
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_file,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_file).decode())
    in_wheel = {name for name in names if ".dist-info/" not in name}
    with tarfile.open(source) as archive:
        in_source = {member.name.partition("/")[2] for member in archive if member.isfile()}
    installed = {
        to + path.removeprefix(folder)
        for path in tracked
        for folder, to in INSTALLED.items()
        if path.startswith(folder)
    }
    problems = [
        *(f"the wheel lacks {name}" for name in sorted(installed - in_wheel)),
        *(f"the wheel has {name}, which git does not track" for name in sorted(in_wheel - installed)),
        *(f"the source distribution lacks {name}" for name in sorted(tracked - UNPUBLISHED - in_source)),
        *_of_metadata(metadata),
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{wheel.name}: {len(in_wheel)} files; {source.name}: {len(in_source)} files; problems: {len(problems)}")
    return len(problems)


def _of_metadata(metadata: Message) -> list[str]:
    version = metadata["Version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    problems = [
        f"{label} leads nowhere: {url} is a reserved name"
        for label, url in project["urls"].items()
        if ".example" in url
    ]
    if f"## {version} " not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        problems.append(f"CHANGELOG.md has no section for {version}")
    return problems


if __name__ == "__main__":
    sys.exit(min(main(), 1))
