"""`Library`: the one object that the command line, a service and notebooks talk to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from zsindex import config
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification.options import Query, QueryOptions, Question, QuestionOptions
from zsindex.classification.prompts import LabelsLike
from zsindex.classification.results import Classification, Hit, Hits
from zsindex.classification.templates import DEFAULT_TEMPLATE
from zsindex.classification.view import View
from zsindex.models.encoder import Encoder
from zsindex.records import Facts, FloatArray, ModelInfo, ModelSpec, Progress, SyncReport
from zsindex.services.questions import Plan, Questions
from zsindex.session import storages
from zsindex.session.model import ModelOptions
from zsindex.session.session import Session
from zsindex.where import Where, WhereLike

__all__ = ["Library"]

# Parts are imported on first use, so that a question answered from the cache does not wait for the others.
if TYPE_CHECKING:
    from zsindex.lab.events import Events, Rule
    from zsindex.photos.sources import ImageLike
    from zsindex.services.albums import Albums
    from zsindex.services.choices import Choices
    from zsindex.services.ci import Ci
    from zsindex.services.copying import CopyReport
    from zsindex.services.corrections import Corrections
    from zsindex.services.counts import Counts
    from zsindex.services.decisions import Decisions
    from zsindex.services.lab import Lab
    from zsindex.services.labels import Labels
    from zsindex.services.map import Map
    from zsindex.services.migration import Migrations
    from zsindex.services.neighbours import Neighbours
    from zsindex.services.photos import Photos
    from zsindex.services.prior import Prior
    from zsindex.services.reviews import Reviews
    from zsindex.services.runs import Runs
    from zsindex.services.search_index import SearchIndex
    from zsindex.services.surveys import Surveys
    from zsindex.services.tags import Tags
    from zsindex.services.temperature import Temperature
    from zsindex.services.templates import Templates
    from zsindex.services.thresholds import Thresholds
    from zsindex.services.unknown import Unknown
    from zsindex.services.vectors import Vectors
    from zsindex.upkeep.maintenance import CheckReport, ModelStatus, PruneReport, Status
    from zsindex.upkeep.room import Room


class Library:
    """A photo library: one folder with a database and an index. Open it with `Library.open`, best in a `with`
    block.

    Everyday questions are methods of its own. The rest is in its parts: `labels`, `templates`, `corrections`,
    `thresholds`, `temperature`, `unknown`, `lab`, `choices`, `ci`, `runs`, `tags`, `neighbours`, `map`, `vectors`,
    `photos`, `search_index`, `migration`.

    All methods may be called from several threads. Answers from the cache never load a model.
    """

    def __init__(self, session: Session) -> None:
        """A library over an open session.

        Args:
            session: what the parts share; closed with the library.
        """
        self._session = session

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        create: bool = True,
        read_only: bool = False,
        encoder: Encoder | None = None,
        on_load: Callable[[ModelSpec], None] | None = None,
        search: str | None = None,
        **options: Unpack[ModelOptions],
    ) -> Library:
        """Open a library, and create it if it is missing.

        Args:
            path: its folder, or the URL of one on a server: ``postgresql://HOST/DATABASE``. Default: the environment's
                ``ZSINDEX_LIBRARY``, else a folder in the platform's user-data folder.
            model: ``nano``, ``ORG/NAME`` on a hub, ``ARCHITECTURE/TAG`` of open_clip, or a folder (docs/models.md).
                Default: the library's model; ``nano`` for a new one. It is loaded only when something must be encoded.
            device: ``auto`` or a torch device.
            batch_size: images that are encoded and stored at a time. Default: 32 are stored at a time, 128 where CUDA
                encodes them, and the device decides how many go through the model at once.
            workers: threads that read and decode photos. Default: one per processor core.
            create: create the library if there is none; on a server only `create` does that.
            read_only: never write, whatever the folder's permissions.
            encoder: an object that implements `zsindex.models.encoder.Encoder`, to be used instead of any named model.
            on_load: called, from any thread, just before a model is loaded, which takes seconds.
            search: where a library on a server is searched: ``here``, in this machine's copy of all vectors; or on the
                ``server``, for machines without the memory for that, see `search_index`. Default: the environment's
                ``ZSINDEX_SEARCH``, else ``here``.
            options: `pretrained`, `precision`, `decode`, `icc` and `transparency`, which distinguish models of the same
                name; see `zsindex.session.model.ModelOptions`. Default: those of the library; in a new one colours are
                converted and transparency is shown.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryTooOld, LibraryUnreachable, LibraryReadOnly
            LibraryDamaged, LibraryBusy, StorageFull
        """
        return cls(
            Session.open(
                path,
                model=model,
                device=device,
                batch_size=batch_size,
                workers=workers,
                create=create,
                read_only=read_only,
                encoder=encoder,
                on_load=on_load,
                search=search,
                **options,
            )
        )

    @staticmethod
    def exists(path: str | os.PathLike[str] | None = None) -> bool:
        """Whether there is already a library, so that `open` would not create one.

        Args:
            path: as for `open`.
        """
        return Session.exists(path)

    @staticmethod
    def create(path: str | os.PathLike[str]) -> bool:
        """Make an empty library in a folder or, with its tables, in a database on a server.

        Args:
            path: as for `open`.

        Returns:
            False if there was one, which stays as it is.

        Raises:
            NotALibrary, LibraryUnreachable, LibraryReadOnly, StorageFull, StorageFailed
        """
        return storages.create(config.library_place(path))

    @staticmethod
    def upgrade(path: str | os.PathLike[str]) -> tuple[str, str]:
        """Bring the schema of a library up to date. In a folder `open` does that; on a server, where others may be
        using it with another version, only this.

        Args:
            path: as for `open`.

        Returns:
            Its revisions before and after.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryUnreachable, LibraryReadOnly, StorageFull, StorageFailed
        """
        return storages.upgrade(config.library_place(path))

    @staticmethod
    def copy(
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> CopyReport:
        """Copy a library, from a folder onto a server, back, or to another one: photos, vectors, prompts, label sets,
        corrections, thresholds, temperatures, runs, jobs, and the records of tags. In the end both are compared.

        Args:
            source: as for `open`.
            target: a new or empty folder; or the URL of a database without a library, or with an empty one. What was
                stopped is gone on with.
            progress: called now and then.

        Raises:
            CopyRefused: there is something at the target; or the source was changed meanwhile.
            LibraryNotFound, NotALibrary, LibraryUnreachable, LibraryBusy, LibraryReadOnly, StorageFull, StorageFailed
        """
        from zsindex.services.copying import copy

        return copy(config.library_place(source), config.library_place(target), progress or (lambda _: None))

    def close(self) -> None:
        """Release the database, the index and the model. What was returned stays valid. Any later call raises
        `LibraryClosed`, also on its parts and in other threads, which first finish what they are storing. Closing twice
        does no harm.
        """
        self._session.close()

    def __enter__(self) -> Self:
        self._session.require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._session.closed:
            return f"<Library {self.place}, closed>"
        return f"<Library {self.place} with {self.spec}>"

    @property
    def path(self) -> Path:
        """The library's folder; of one on a server the folder of this machine for what is derived from it."""
        return self._session.path

    @property
    def place(self) -> Path | str:
        """What stands for the library in messages: its folder, or its URL without a password."""
        return self._session.place

    @property
    def session(self) -> Session:
        """What the parts share; for services on top of a library. Not part of the stable API."""
        self._session.require_open()
        return self._session

    @property
    def read_only(self) -> bool:
        """Whether nothing can be stored: because it was opened so, or for lack of permission."""
        return self.session.read_only

    @property
    def usage(self) -> dict[str, int]:
        """What has been encoded, and what was found in the cache, since the library was opened.

        ``images_encoded``, ``images_reused``, ``prompts_encoded``, ``prompts_reused``, ``model_loads``; and for the
        model loaded now ``text_requests``, and the ``text_calls`` that answered them in batches.
        """
        loaded = self.session.model.loaded
        return {
            **self.session.usage.counts(),
            "text_requests": 0 if loaded is None else loaded.text_requests,
            "text_calls": 0 if loaded is None else loaded.text_calls,
        }

    # --- the model ----------------------------------------------------------------------------------------------------

    @property
    def device(self) -> str:
        """The device that models run on, as requested: ``auto`` or a torch device."""
        return self.session.model.device

    @property
    def spec(self) -> ModelSpec:
        """The model that answers this library's questions."""
        return self.session.model.spec

    @property
    def model(self) -> ModelInfo:
        """Details of that model; loads it if the library has never used it.

        Raises:
            ModelError
        """
        return self.session.info

    def models(self) -> list[ModelStatus]:
        """The models that the library holds vectors of, with sizes; the default one is marked."""
        from zsindex.services.upkeep import Upkeep

        return Upkeep(self.session).models()

    def use_model(self, model: str, **options: Unpack[ModelOptions]) -> ModelInfo:
        """Load a model and make it the library's default. Vectors of other models are kept, and can be used by naming
        their model.

        Args:
            model, options: as for `open`.

        Raises:
            ModelError, LibraryReadOnly
        """
        return self.session.use_model(model, **options)

    def with_model(self, model: str, **options: Unpack[ModelOptions]) -> Library:
        """The same library with another model; this object stays as it is. Close both.

        Args:
            model, options: as for `open`.

        Raises:
            UnknownModel: the library holds no vectors of it. Encode with it first: ``zsindex sync --model``.
        """
        return Library(self.session.with_model(model, **options))

    # --- photos and vectors -------------------------------------------------------------------------------------------

    def sync(
        self,
        paths: PathsLike | None = None,
        *,
        exclude: str | Sequence[str] = (),
        include_hidden: bool = False,
        retry_skipped: bool = False,
        dry_run: bool = False,
        on: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> SyncReport:
        """Bring the library up to date with folders and files; encode what is new.

        Args:
            paths: a folder (with everything below) or file, or several. Default: all folders synced before.
            exclude: one or more patterns of names and paths to leave out, as described in `zsindex.photos.scan.scan`.
                Photos that are in the library and now excluded count as vanished.
            include_hidden: include names that begin with a dot.
            retry_skipped: retry files that could not be read, even if they have not changed.
            dry_run: only report what would be done: read, encode and store nothing.
            on: who reads and encodes: ``ray``, which is started on this machine unless ``RAY_ADDRESS`` names a cluster,
                or the address of a cluster's head, ``ray://HOST:PORT``. Default: this process. `workers` of `open` are
                then the cores of each actor; an actor that is stopped loses what it is at.
            progress: called now and then with the progress made.
            should_stop: called between photos; once it returns True, the current batch is finished, and the report says
                `interrupted`.

        Raises:
            PathNotFound: a path is neither on the disk nor known.
            LibraryBusy: another sync is running.
            ExtraMissing, ClusterUnreachable, ClusterFailed: with `on`.
            LibraryReadOnly, StorageFull, ModelError
        """
        from zsindex.services.ingest import Ingest

        return Ingest(self.session).sync(
            paths,
            exclude=exclude,
            include_hidden=include_hidden,
            retry_skipped=retry_skipped,
            dry_run=dry_run,
            on=on,
            progress=progress,
            should_stop=should_stop,
        )

    def view(self, paths: PathsLike | None = None) -> View:
        """A snapshot of the photos with vectors, which the label lab works on.

        Args:
            paths: files and folders to restrict to. Default: all; that snapshot may be a second old while this object
                syncs or imports.
        """
        return self.session.view(None if paths is None else absolute_all(paths))

    def embed_images(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """Vectors of images, from the cache if their content is known; others are encoded and cached.

        Args:
            images: paths, encoded bytes, or PIL images; a single one counts as a list of one.

        Returns:
            float32, shape (len(images), dim), L2-normalised rows.

        Raises:
            ImageError: an image cannot be read; names it.
            ModelError
        """
        return self.session.embed.images(images)

    def embed_texts(self, texts: str | Iterable[str], *, truncate: bool = False) -> FloatArray:
        """Vectors of texts, used as they are, from the cache if known; others are encoded and cached.

        Args:
            texts: prompts; a single one counts as a list of one. Surrounding white space is dropped and Unicode
                composed (NFC).
            truncate: truncate texts that are too long for the model, instead of refusing them.

        Returns:
            float32, shape (len(texts), dim), L2-normalised rows.

        Raises:
            PromptTooLong: names the text.
            ModelError
        """
        return self.session.embed.texts(texts, truncate=truncate)

    # --- questions ----------------------------------------------------------------------------------------------------

    def classify(
        self,
        labels: LabelsLike | Question | None = None,
        *,
        on: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        **options: Unpack[QuestionOptions],
    ) -> Classification:
        """Score photos against labels.

        Args:
            labels: names; a mapping from names to written-out prompts; a `LabelSet`; or a whole `Question`.
            options: `label_set`, `template`, `top`, `paths`, `where`, `activation`, `unknown`, `thresholds`,
                `multi_label`, `with_corrections`, `temperature`, `prior`, `transport`, `smooth`, `one_per`, `truncate`,
                `sync` and `record`; described in `zsindex.classification.options.Question`.
            on: a cluster whose actors score, as for `sync`; new photos and prompts are encoded here. They map the
                library's index file, which all nodes must see. Scores of all answers are computed here when asked for.
            progress, should_stop: for the sync of `paths`, as for `sync`; and for the scoring with `on`.

        Raises:
            Stopped, ExtraMissing, ClusterUnreachable, ClusterFailed: with `on`.
            NoLabels, EmptyLabel, DuplicateLabels, BadTemplate, UnknownLabelSet, PromptTooLong
            BadQuestion, BadPrior, BadUnknown, NoThreshold, BadLabelFile, NoTemperature
            BadFilter, NoFacts, UnknownLabel: of `where`.
            NoVectors: the library holds no photos, or none with a vector of the model.
            NotInLibrary: `sync` is False or the library is read-only, and something in `paths` is unknown.
            TooManyScores: `smooth` or `transport` with more photos and labels than fit in memory.
            ValueError: a number is out of bounds, or `with_corrections` is not a known method.
        """
        if not isinstance(labels, Question):
            labels = Question(labels, **options)
        elif options:
            raise TypeError("a question has its own options")
        return Questions(self.session).classify(labels, on=on, progress=progress, should_stop=should_stop)

    def plan(self, question: Question) -> Plan:
        """Plan a question before anything is scored: its run key, what is cached, what must be encoded.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadTemplate, UnknownLabelSet, NoThreshold, NoTemperature, ModelError
        """
        return Questions(self.session).plan(question)

    def search(self, query: ImageLike, **options: Unpack[QueryOptions]) -> Hits:
        """Find photos by text, by example, or by a combination of both.

        The query's vector is the sum of the unit vectors of all positive terms minus those of the negative ones.

        Args:
            query: plain text; or an image: a `Path`, the name of an existing file or of a photo in the library, bytes,
                or a PIL image. ``text:…`` is always text.
            options: `plus` and `minus`, more terms to add and subtract; `cut` and `without`, where to stop and what to
                leave out; `top`, `paths`, `where`, `one_per`, `truncate` and `exact`; described in
                `zsindex.classification.options.Query`.

        Returns:
            The photos, best first: a list, which also knows how many fit; see `zsindex.classification.results.Hits`.

        Raises:
            BadQuery: the query is empty, its terms cancel out, or ``cut="auto"`` was asked of images.
            NotInLibrary: something in `paths` is unknown.
            NoVectors: the library holds no photos, or none with a vector of the model.
            BadFilter, NoFacts, UnknownLabelSet, UnknownLabel: of `where`.
            ImageError, PromptTooLong, ModelError
        """
        from zsindex.services.search import Search

        return Search(self.session).search(Query(query, **options))

    def events(
        self,
        *,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        vocabulary: str | os.PathLike[str] | Sequence[str] | None = "basic",
        template: str = DEFAULT_TEMPLATE,
        look: bool = True,
        file_times: bool = False,
        rule: Rule | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Events:
        """Group photos by when they were taken: into events, by gaps in time that are long for their surroundings and
        by distance; and those into bursts, by time and likeness, with the best photo of each.

        Photos are put in the order of their local times, all cameras together: a clock that was wrong puts photos into
        another event. docs/methods.md has the method.

        Args:
            paths: files and folders to restrict to. Default: all.
            where: only photos that fit, of those; see `zsindex.where`.
            vocabulary: events are named by the word that is nearest to the event in comparison with the others:
                ``basic``, ``wordnet``, ``wordnet:``, the name of a file, or the words. None: no names. New words are
                encoded.
            template: for these words.
            look: read the photos of bursts, and choose the sharpest. False: choose by pixels and file sizes alone.
            file_times: use photos of which only the file's time is known; it may be that of a copy or an edit.
            rule: how photos are grouped.
            progress: called now and then with how many photos have been read, or words encoded.

        Raises:
            NotInLibrary, NoVectors, BadLabelFile, ModelError
            BadFilter, NoFacts, UnknownLabelSet, UnknownLabel: of `where`.
            ValueError: `template` is not a template.
        """
        from zsindex.services.filters import Filters
        from zsindex.services.timeline import Timeline

        return Timeline(self.session).events(
            Filters(self.session).view_of(paths, Where.of(where)),
            vocabulary=vocabulary,
            template=template,
            look=look,
            file_times=file_times,
            rule=rule,
            progress=progress,
        )

    def similar(
        self,
        image: ImageLike,
        *,
        top: int = 20,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """Find the photos most like an image, which need not be in the library. The image itself is left out, its
        copies are not.

        Args:
            image: a path, encoded bytes, or a PIL image.
            top, paths, where, exact: as for `search`.

        Raises:
            ImageError: it cannot be read.
            NotInLibrary, NoVectors, BadFilter, NoFacts, UnknownLabelSet, UnknownLabel: as for `search`.
            ModelError
        """
        from zsindex.services.search import Search

        return Search(self.session).similar(Query(image, top=top, paths=paths, where=where, exact=exact))

    def facts(self, path: str | os.PathLike[str]) -> Facts:
        """What a photo says of itself besides its pixels: its metadata, the sidecar beside it, its name and its time.

        Of a photo of the library the metadata is what a sync has read; of any other, and of one that was encoded before
        facts were kept, it is read now. The sidecars of photo.jpg are photo.jpg.xmp and photo.xmp; one that is no XMP
        is passed over.

        Args:
            path: of a file that is there (``~`` is expanded).

        Raises:
            ImageError: it cannot be read, or is no photo.
        """
        from zsindex.services.photos import read_facts

        return read_facts(self.session, path)

    # --- upkeep -------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Counts, sizes and versions."""
        from zsindex.services.upkeep import Upkeep

        return Upkeep(self.session).status()

    def room(self) -> list[Room]:
        """What grows, in the library and in the user's cache folder: how much there is of it, and how far it may."""
        from zsindex.services.upkeep import Upkeep

        return Upkeep(self.session).room()

    def check(self, *, fix: bool = False) -> CheckReport:
        """Check that database, vectors and index agree; with `fix`, rebuild derived data and forget damaged vectors.

        Raises:
            LibraryReadOnly: `fix` on a library that cannot be written.
        """
        from zsindex.services.upkeep import Upkeep

        return Upkeep(self.session).check(fix=fix)

    def prune(
        self,
        paths: PathsLike | None = None,
        *,
        models: str | Sequence[str] = (),
        prompts: bool = False,
        unused_days: int | None = None,
        most_prompts: int | None = None,
        backups: bool = False,
        dry_run: bool = False,
    ) -> PruneReport:
        """Forget vanished files, and images and vectors that nothing refers to anymore.

        Args:
            paths: also forget everything at or below these folders, such as a disk that is gone for good.
            models: also forget these models, by name or the beginning of a fingerprint, with all their vectors.
            prompts: also forget cached prompts that belong to no saved label set.
            unused_days: of these only those that nobody asked for in so many days, with or without `prompts`.
            most_prompts: of these only those that were not asked for for the longest, as long as there are more prompts
                than so many, with or without `prompts`.
            backups: also remove copies of the database from before upgrades.
            dry_run: only report what would be forgotten.

        Raises:
            UnknownModel, LibraryReadOnly, LibraryBusy
        """
        from zsindex.services.upkeep import Upkeep

        return Upkeep(self.session).prune(
            paths,
            models=models,
            prompts=prompts,
            unused_days=unused_days,
            most_prompts=most_prompts,
            backups=backups,
            dry_run=dry_run,
        )

    # --- parts --------------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> Labels:
        """Saved label sets, all versions of each."""
        from zsindex.services.labels import Labels

        return Labels(self.session)

    @property
    def templates(self) -> Templates:
        """Template sets, built-in and saved."""
        from zsindex.services.templates import Templates

        return Templates(self.session)

    @property
    def corrections(self) -> Corrections:
        """What people say about photos, and which photos to label next."""
        from zsindex.services.corrections import Corrections

        return Corrections(self.session)

    @property
    def thresholds(self) -> Thresholds:
        """Minimum scores of answers."""
        from zsindex.services.thresholds import Thresholds

        return Thresholds(self.session)

    @property
    def temperature(self) -> Temperature:
        """How confident scores are: a temperature fitted to photos with known content."""
        from zsindex.services.temperature import Temperature

        return Temperature(self.session)

    @property
    def prior(self) -> Prior:
        """How the photos are divided among the answers."""
        from zsindex.services.prior import Prior

        return Prior(self.session)

    @property
    def unknown(self) -> Unknown:
        """Which photos show none of the labels."""
        from zsindex.services.unknown import Unknown

        return Unknown(self.session)

    @property
    def lab(self) -> Lab:
        """Which words work: lint, diff, suggest, evaluate, attribute, explain."""
        from zsindex.services.lab import Lab

        return Lab(self.session)

    @property
    def choices(self) -> Choices:
        """Which model, which words are best, found out in few looks."""
        from zsindex.services.choices import Choices

        return Choices(self.session)

    @property
    def ci(self) -> Ci:
        """Whether label sets keep the bounds of a committed file."""
        from zsindex.services.ci import Ci

        return Ci(self.session)

    @property
    def runs(self) -> Runs:
        """Recorded questions with their answers."""
        from zsindex.services.runs import Runs

        return Runs(self.session)

    @property
    def tags(self) -> Tags:
        """Answers as tags in XMP sidecars."""
        from zsindex.services.tags import Tags

        return Tags(self.session)

    @property
    def neighbours(self) -> Neighbours:
        """Neighbours, copies and near-duplicates."""
        from zsindex.services.neighbours import Neighbours

        return Neighbours(self.session)

    @property
    def map(self) -> Map:
        """All images as points of a plane, so that those lie together that are alike."""
        from zsindex.services.map import Map

        return Map(self.session)

    @property
    def decisions(self) -> Decisions:
        """What people decide about duplicates."""
        from zsindex.services.decisions import Decisions

        return Decisions(self.session)

    @property
    def albums(self) -> Albums:
        """Questions with their filters, saved under a name."""
        from zsindex.services.albums import Albums

        return Albums(self.session)

    @property
    def reviews(self) -> Reviews:
        """Finding all photos that show a label, with a promise of how many of them were found."""
        from zsindex.services.reviews import Reviews

        return Reviews(self.session)

    @property
    def counts(self) -> Counts:
        """How many photos show something, with an interval, from a few that a person looks at."""
        from zsindex.services.counts import Counts

        return Counts(self.session)

    @property
    def surveys(self) -> Surveys:
        """What was asked of people about photos, one after another, and what they answered."""
        from zsindex.services.surveys import Surveys

        return Surveys(self.session)

    @property
    def vectors(self) -> Vectors:
        """Vectors by image, and export and import of whole folders of vectors."""
        from zsindex.services.vectors import Vectors

        return Vectors(self.session)

    @property
    def photos(self) -> Photos:
        """The photos of the library, all and single ones."""
        from zsindex.services.photos import Photos

        return Photos(self.session)

    @property
    def search_index(self) -> SearchIndex:
        """The search index on the server, for machines that cannot hold all vectors."""
        from zsindex.services.search_index import SearchIndex

        return SearchIndex(self.session)

    @property
    def migration(self) -> Migrations:
        """Moving from one model to another."""
        from zsindex.services.migration import Migrations

        return Migrations(self.session)
