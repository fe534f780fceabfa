"""What is disturbed: a library is set up, and then something is done with it, in steps that can all be done again."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.fakes import FakeEncoder
from tests.libraries import add_photos, open_storage, paint, unit_vectors
from tests.storage import make_libraries
from zsindex.exchange import xmp
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.models.openvino import runtime
from zsindex.models.openvino.runtime import TowerManifest
from zsindex.records import ModelSpec, SyncReport
from zsindex.services.upkeep import Upkeep
from zsindex.storage.sqlite import schema
from zsindex.storage.sqlite.file import FILE_NAME

Step = Callable[[], object]

COLOURS = {
    "red": (250, 10, 10),
    "rose": (240, 40, 60),
    "green": (10, 250, 10),
    "leaf": (60, 230, 20),
    "blue": (10, 10, 250),
    "sky": (40, 60, 240),
}
LABELS = ["red", "green", "blue"]
# A photo that is none.
BROKEN = "broken.png"
# What a photo of each colour shows.
SHOWS = {"red": "red", "rose": "red", "green": "green", "leaf": "green", "blue": "blue", "sky": "blue"}
# A sidecar of another program, with a keyword.
OTHERS = xmp.add(None, {xmp.SUBJECT: ["mine"]}).data.replace(b'rdf:about=""', b'rdf:about="" xmlns:a="b" a:c="d"')


def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
    """Stands for the loading of a model: whatever its name, a few lines of numpy."""
    return FakeEncoder(name=spec.name, decode=spec.decode, icc=spec.icc, transparency=spec.transparency)


@dataclass(frozen=True, slots=True)
class World:
    """The folder in which a scenario happens; always the same one, as libraries know where photos are."""

    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "library"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def others(self) -> Path:
        """Where exports, thumbnails and the like are written to."""
        return self.folder / "others"

    @property
    def towers(self) -> Path:
        """A model's export."""
        return self.others / "towers" / "model"

    def open(self, *, create: bool = False) -> Library:
        """The library, so that batches are small and the order of operations varies little."""
        return Library.open(self.library, batch_size=2, workers=1, create=create)

    def paint(self, colours: Mapping[str, tuple[int, int, int]] = COLOURS) -> None:
        for name, rgb in colours.items():
            paint(self.photos / f"{name}.png", rgb)


class Scenario(ABC):
    """Something that is done with a library.

    Attributes:
        name: by which it is told.
        may_forget: whether what it writes beside the library is a cache, which any of it may be missing from.
        may_leave: what such a cache may leave beside it, to be removed by others in time; a regular expression.
    """

    name: ClassVar[str]
    may_forget: ClassVar[bool] = False
    may_leave: ClassVar[str] = "(?!)"

    def set_up(self, world: World) -> None:
        """What is there before. By default a library of six photos that is up to date, and knows a label set."""
        made = world.folder.with_name("made")
        if made.exists():  # once for all scenarios
            shutil.copytree(made, world.folder)
            return
        world.paint()
        with world.open(create=True) as library:
            library.sync(world.photos)
            library.labels.save("colours", LABELS)
            library.classify(label_set="colours")
        shutil.copytree(world.folder, made)

    def is_expected(self, told: str) -> bool:
        """Whether a problem that `check` tells, or a warning, is none of what is disturbed, but was set up."""
        return False

    @abstractmethod
    def steps(self, world: World) -> Sequence[Step]:
        """What is done. When a step has returned, all that it did is kept. Done again, all of it ends the same."""


class Making(Scenario):
    name = "making a library"

    def set_up(self, world: World) -> None:
        world.folder.mkdir()

    def steps(self, world: World) -> Sequence[Step]:
        def make() -> None:
            with world.open(create=True) as library:
                assert library.model.dim

        return [make]


class Syncing(Scenario):
    name = "sync"

    def set_up(self, world: World) -> None:
        super().set_up(world)
        (world.photos / "red.png").unlink()
        shutil.copyfile(world.photos / "sky.png", world.photos / "blue.png")
        world.paint({"white": (255, 255, 255), "grey": (99, 99, 99), "dark": (9, 9, 9)})
        (world.photos / BROKEN).write_bytes(b"\x89PNG\r\n\x1a\n")

    def steps(self, world: World) -> Sequence[Step]:
        def sync() -> None:
            with world.open() as library:
                _tell_of(library.sync(world.photos))

        return [sync]


class Prompting(Scenario):
    name = "new prompts"

    def steps(self, world: World) -> Sequence[Step]:
        def ask(labels: Sequence[str]) -> Step:
            def classify() -> None:
                with world.open() as library:
                    library.classify(labels)

            return classify

        return [ask(["yellow", "white"]), ask(["black", "yellow", "something new"])]


class Snapshot(Scenario):
    name = "snapshot"

    def set_up(self, world: World) -> None:
        with world.open(create=True) as library:
            assert library.model.dim
        with open_storage(world.library) as storage:
            add_photos(storage, storage.reads.models()[0], unit_vectors(300))

    def steps(self, world: World) -> Sequence[Step]:
        def search() -> None:
            with world.open() as library:
                library.search("red")

        return [search]


class Importing(Scenario):
    name = "import"

    def set_up(self, world: World) -> None:
        world.paint()
        with world.open(create=True) as library:
            library.sync(world.photos)
            library.vectors.export_to(world.others / "vectors")
        shutil.rmtree(world.library)
        with world.open(create=True) as library:
            assert library.model.dim

    def steps(self, world: World) -> Sequence[Step]:
        def take_in() -> None:
            with world.open() as library:
                library.vectors.import_from(world.others / "vectors")

        return [take_in]


class Exporting(Scenario):
    name = "export"

    def set_up(self, world: World) -> None:
        super().set_up(world)
        with world.open() as library:
            library.vectors.export_to(world.others / "earlier", paths=[world.photos / "red.png"])

    def steps(self, world: World) -> Sequence[Step]:
        def export(name: str) -> Step:
            def write() -> None:
                with world.open() as library:
                    library.vectors.export_to(world.others / name, part_size=4, overwrite=True)

            return write

        return [export("vectors"), export("earlier")]


class Tagging(Scenario):
    name = "tags write"

    def set_up(self, world: World) -> None:
        super().set_up(world)
        (world.photos / "sky.png.xmp").write_bytes(OTHERS)
        with world.open() as library:
            library.tags.write(library.classify(["leaf", "sky"], top=1), apply=True)

    def steps(self, world: World) -> Sequence[Step]:
        def write() -> None:
            with world.open() as library:
                report = library.tags.write(library.classify(label_set="colours", top=1), apply=True)
                _require_all(report.skipped)

        return [write]


class Retracting(Tagging):
    name = "tags retract"

    def steps(self, world: World) -> Sequence[Step]:
        def retract() -> None:
            with world.open() as library:
                _require_all(library.tags.retract(apply=True).skipped)

        return [retract]


class Recording(Scenario):
    name = "recording a run"

    def steps(self, world: World) -> Sequence[Step]:
        def record(template: str) -> Step:
            def classify() -> None:
                with world.open() as library:
                    library.runs.record(library.classify(LABELS, template=template))

            return classify

        return [record("{}"), record("a {}")]


class Migrating(Scenario):
    name = "migrate-model"

    def steps(self, world: World) -> Sequence[Step]:
        def migrate() -> None:
            with world.open() as library:
                if str(library.spec) != "second":
                    report = library.migration.run("second", switch=True)
                    _require_all([*report.skipped, *report.away])
                _tell_of(library.sync(world.photos))
                library.classify(label_set="colours")

        return [migrate]


class Pruning(Scenario):
    name = "prune"

    def set_up(self, world: World) -> None:
        super().set_up(world)
        with world.open() as library:
            library.classify(["yellow"])
            library.migration.run("second")
            (world.photos / "red.png").unlink()
            library.sync(world.photos)

    def steps(self, world: World) -> Sequence[Step]:
        def prune() -> None:
            with world.open() as library:
                there = [model.name for model in library.models()]
                library.prune(models=["second"] if "second" in there else [], prompts=True)

        return [prune]


class Fixing(Scenario):
    name = "check --fix"

    def set_up(self, world: World) -> None:
        super().set_up(world)
        with world.open() as library:
            library.runs.record(library.classify(LABELS, template="{}"))
        # One vector and one prompt that have rotted, and a file that a crash has left.
        with closing(sqlite3.connect(world.library / FILE_NAME)) as database, database:
            database.execute("UPDATE embeddings SET vector = zeroblob(32) WHERE seq = 2")
            database.execute("UPDATE prompts SET vector = zeroblob(32) WHERE id = 1")
        (world.library / "index" / "left.faiss").write_bytes(b"x")

    def is_expected(self, told: str) -> bool:
        return "are damaged" in told or "differ from" in told or "belong to no index" in told

    def steps(self, world: World) -> Sequence[Step]:
        def fix() -> None:
            with world.open() as library:
                Upkeep(library.session).check(fix=True)

        def sync() -> None:
            with world.open() as library:
                _tell_of(library.sync(world.photos))

        return [fix, sync]


class Correcting(Scenario):
    name = "corrections"

    def steps(self, world: World) -> Sequence[Step]:
        def correct(name: str, label: str) -> Step:
            def add() -> None:
                with world.open() as library:
                    path = str(world.photos / f"{name}.png")
                    if not any(path in photo.paths for photo in library.corrections.list("colours")):
                        library.corrections.add_all("colours", [(path, label, False), (path, "green", True)])

            return add

        def learn() -> None:
            with world.open() as library:
                library.classify(label_set="colours", with_corrections="gda")

        return [correct("rose", "red"), correct("sky", "blue"), learn]


class Choosing(Scenario):
    name = "thresholds, temperature, label sets"

    def set_up(self, world: World) -> None:
        for name, (red, green, blue) in COLOURS.items():
            for shade in range(2):
                # One of them is said to show something else: a temperature fits only where not all is right.
                shown = "red" if (name, shade) == ("leaf", 1) else SHOWS[name]
                paint(world.photos / shown / f"{name} {shade}.png", (red, green, blue - shade))
        with world.open(create=True) as library:
            library.sync(world.photos)
            library.labels.save("colours", LABELS)
            library.classify(label_set="colours")

    def steps(self, world: World) -> Sequence[Step]:
        def choose() -> None:
            with world.open() as library:
                library.thresholds.choose("colours", "red", rate=0.25)

        def fit() -> None:
            with world.open() as library:
                library.temperature.fit(LABELS)

        def save() -> None:
            with world.open() as library:
                if "more" not in [saved.name for saved in library.labels.list()]:
                    library.labels.save("more", [*LABELS, "white"])
                library.templates.save("mine", ["a {}", "the {}"])

        return [choose, fit, save]


class Upgrading(Scenario):
    """Each schema that there was is one scenario."""

    revision: ClassVar[str]

    def set_up(self, world: World) -> None:
        world.library.mkdir(parents=True)
        packed = make_libraries.FOLDER / f"{self.revision}.db.gz"
        (world.library / FILE_NAME).write_bytes(gzip.decompress(packed.read_bytes()))

    def is_expected(self, told: str) -> bool:
        return "gone.faiss" in told  # the fixtures have no index

    def steps(self, world: World) -> Sequence[Step]:
        def upgrade() -> None:
            world.open().close()

        return [upgrade]


class Thumbnailing(Scenario):
    name = "thumbnails"
    may_forget = True
    may_leave = r"\.tmp$"

    def steps(self, world: World) -> Sequence[Step]:
        from zsindex.photos.thumbnails import Thumbnails  # takes a second, with all of the service

        def keep() -> None:
            thumbnails = Thumbnails(world.others / "thumbnails", max_bytes=5000)
            for n in range(4):
                thumbnails.add(f"{n:02x}{'0' * 62}-64.jpg", bytes([n]) * 1500)

        return [keep]


class Exported(Scenario):
    """A tower's export, as small as it may be: what is in its files costs only time."""

    name = "tower export"
    may_forget = True
    may_leave = r"model-\w{8}(\.old)?(/|$)"

    def set_up(self, world: World) -> None:
        super().set_up(world)
        self._make(world, b"earlier")

    def _make(self, world: World, content: bytes) -> None:
        def write(folder: Path) -> TowerManifest:
            for name in (runtime.TEXT, runtime.TOKENIZER):
                (folder / name).write_bytes(content)
            return TowerManifest(runtime.FORMAT, {}, [], "cpu", {}, 8, 1.0, None, 16, (8, 8), "0" * 64, {}, text=True)

        runtime.make(world.towers, write)

    def steps(self, world: World) -> Sequence[Step]:
        def make() -> None:
            try:
                self._make(world, b"new")
            except OSError as error:  # whoever wants an export does without, and says so
                warnings.warn(str(error), UserWarning, stacklevel=2)

        return [make]


class Careless(Scenario):
    """For a control: a program that writes a file in place, and explains no error."""

    name = "control"

    def steps(self, world: World) -> Sequence[Step]:
        def write() -> None:
            (world.others / "in place").write_bytes(b"new")

        return [write]

    def set_up(self, world: World) -> None:
        super().set_up(world)
        world.others.mkdir()
        (world.others / "in place").write_bytes(b"old")


def _require_all(skipped: Sequence[object]) -> None:
    """What could not be done is a line of a report: here it is told as a warning, as all other words are."""
    for one in skipped:
        warnings.warn(str(one), UserWarning, stacklevel=2)


def _tell_of(report: SyncReport) -> None:
    skipped = [one for one in report.skips if not one.path.endswith(BROKEN)]
    _require_all([*skipped, *report.unlisted.items(), *report.vanished_roots])


def _upgrades() -> list[type[Scenario]]:
    return [
        type(f"Upgrading{revision}", (Upgrading,), {"name": f"upgrade of {revision}", "revision": revision})
        for revision in make_libraries.REVISIONS
        if revision != schema.HEAD
    ]


SCENARIOS: dict[str, Scenario] = {
    kind.name: kind()
    for kind in (
        Making,
        Syncing,
        Prompting,
        Snapshot,
        Importing,
        Exporting,
        Tagging,
        Retracting,
        Recording,
        Migrating,
        *_upgrades(),
        Pruning,
        Fixing,
        Correcting,
        Choosing,
        Thumbnailing,
        Exported,
    )
}


CONTROL = Careless()


def named(name: str) -> Scenario:
    """A scenario, or the control, by its name."""
    return CONTROL if name == CONTROL.name else SCENARIOS[name]


def restore(world: World, saved: Path) -> None:
    """Put a world back as it was saved."""
    shutil.rmtree(world.folder, ignore_errors=True)
    shutil.copytree(saved, world.folder, symlinks=True)


def save(world: World, to: Path) -> None:
    """Keep a copy of a world."""
    shutil.copytree(world.folder, to, symlinks=True)
