"""What the program asks of a storage, with what it relies on. Everything else is derived from what is in there.

A `Storage` is a handle on one library; several may be open on the same one, in this process and in others, and each may
be used from several threads. What goes in and comes out are the records of `zsindex.storage.rows`; vectors are float32,
L2-normalised, and come back bit by bit or not at all; ids are int64. These things hold of every method, and
`tests/storage` tries them on every implementation:

**Whole or not at all.** Each method that stores is one transaction. When it returns, what it stored is kept: on a
disk, also where the process or the machine stops the next instant. When it raises, whatever it raises, nothing has
changed.

**One at a time.** No two transactions that write overlap, in whatever process: what one has read still holds when it is
done. They wait for one another for a while, and give up with `LibraryBusy`.

**One moment's view.** What a method returns is how things were at one moment, with all that was stored before it was
called through any handle. Of what is read in parts (`Reads.embeddings`, `BulkStorage.exporting`) this holds to the end
of the ``with`` block. Nobody who reads waits for somebody who writes.

**Saying it again does no harm.** Whatever is stored is recognised when it comes again: an image by its digest, a model
by its fingerprint, a prompt by its text, a file by its path. A vector that is there stays, and is not replaced.

**Refusals.** After `Storage.close` everything raises `LibraryClosed`, but for what other threads are storing, which
comes to its end. What stores raises `LibraryReadOnly` where the handle is not `Storage.writable`, whose message says
what was to be done, `StorageFull` and `StorageFailed` where the system refuses, and, where it names a model that
somebody has pruned, `ModelPruned`. What reads raises `LibraryDamaged` where what is stored can be nothing of the kind.

**Ids and sequence numbers are never given again**, also not after what had them was pruned: whoever still holds one of
a model or an image never takes another for it.

**Damage.** A checksum lies beside each vector, over its bytes and whose it is. One that is not what was stored never
comes back: to most it is as if it were not there, and `PhotoStorage.bad_vectors` finds it.

**Watermarks.** Embeddings are numbered by `seq` in the order in which they become visible: whoever has read all of a
model's up to a number, the watermark, and later reads those after it, has then read all of them, whatever writers
overlapped with the reading, came to an end in another order than they began in, or failed. Numbers may have gaps. A
database that gives out numbers before it commits must let its writers wait for one another, or it breaks this.

**Generations.** `Reads.generation` of a model is the same as long as no embedding of it was deleted. So what was read
up to a watermark is still true while the generation is what it was before the reading began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from zsindex.records import (
    Candidate,
    Facts,
    FloatArray,
    IdArray,
    IncompletePhoto,
    ModelInfo,
    ModelSpec,
    Progress,
    SkippedFile,
)
from zsindex.storage.claims import Claims
from zsindex.storage.facts_table import FactsTable
from zsindex.storage.rows import (
    MOST_QUESTIONS,
    NO_PROMPTS,
    AlbumRow,
    Candidates,
    CorrectionEntry,
    DecisionEntry,
    ExportedPhotos,
    FileDetails,
    FileOutcome,
    FileTable,
    Forgettable,
    ImageRecord,
    ImportedPhoto,
    JobRow,
    KnownFile,
    KnownPhoto,
    LookRow,
    ModelRow,
    NearestRow,
    Receipt,
    SavedLabelSet,
    SidecarRow,
    SnapshotRow,
    SurveyRow,
    ThresholdRow,
)
from zsindex.storage.seals import Damaged


class Lock(Protocol):
    """A lock that excludes the same lock of all other handles on the library, of any process, and the other threads of
    this one. It goes with its process.
    """

    def hold(self, purpose: str, *, wait: bool = True, shared: bool = False) -> AbstractContextManager[object]:
        """Hold it. A thread that holds it may do so again, through the same handle. Nobody needs it to read or store.

        Args:
            purpose: tells others why they wait.
            wait: for somebody else who holds it.
            shared: others who say so may hold it, too, where the storage is for several machines.

        Raises:
            LibraryBusy: somebody else kept it for too long; the message says who, and since when.
        """
        ...

    def is_held(self) -> bool:
        """Whether some thread holds it through this handle. A lock of a server is lost with the connection to it."""
        ...

    def tell(self, progress: Progress) -> None:
        """Let others know how far the work is that it is held for. Costs a write of a few bytes, and never fails; does
        nothing where it is not held.
        """
        ...

    def told(self) -> list[tuple[str, Progress]]:
        """Of all who hold it now, through whatever handle, and have told how far they are: who, in words, and that."""
        ...


class Storage(Protocol):
    """A handle on a library."""

    @property
    def folder(self) -> Path:
        """Where files that are derived from it lie on this machine."""
        ...

    @property
    def place(self) -> Path | str:
        """What stands for the library in messages: its folder, or its URL without a password."""
        ...

    @property
    def writable(self) -> bool:
        """False where nothing can be stored."""
        ...

    @property
    def keeps_snapshots(self) -> bool:
        """Whether index files can be written and recorded (`PhotoStorage.save_snapshot`, `mark_verified`): also by who
        cannot store anything else, where they lie on each machine.
        """
        ...

    @property
    def reads(self) -> Reads:
        """What a question from the cache asks."""
        ...

    @property
    def photos(self) -> PhotoStorage:
        """Photos, models and the index."""
        ...

    @property
    def labels(self) -> LabelStorage:
        """The label lab's."""
        ...

    @property
    def jobs(self) -> JobStorage:
        """A service's jobs."""
        ...

    @property
    def bulk(self) -> BulkStorage:
        """Photos with vectors by the thousand."""
        ...

    @property
    def nearest(self) -> NearestStorage | None:
        """Searches in the storage itself, for machines without the memory; None where it is on this one."""
        ...

    @property
    def sync_lock(self) -> Lock:
        """Held by a sync, an import, a prune, and by what writes tags, so that no two of them run at a time; but syncs
        share it.
        """
        ...

    @property
    def jobs_lock(self) -> Lock:
        """Held by the one service that runs jobs; nobody waits for it."""
        ...

    @property
    def facts_lock(self) -> Lock:
        """Held by the one sync that reads the facts of photos that were stored without them; nobody waits for it."""
        ...

    @property
    def index_lock(self) -> Lock:
        """Held by the one process of a machine that writes an index file into `folder`."""
        ...

    def require_open(self) -> None:
        """Raise `LibraryClosed` after `close`."""
        ...

    def require_writable(self, action: str) -> None:
        """Raise `LibraryReadOnly` unless writing is possible; `action` completes "cannot …"."""
        ...

    def again(self, *, read_only: bool = False) -> Storage:
        """Another handle on the same library, as it was opened or only to read. It is closed by itself."""
        ...

    def close(self) -> None:
        """Let go of it: what is asked for from now on is refused. What other threads are storing is finished. Other
        handles go on. Closing twice does no harm.
        """
        ...

    def lags(self) -> bool:
        """Whether what others have stored may be there a little later: on a standby of their server."""
        ...

    def position(self) -> str:
        """How far it is in all that was stored, by whomever; empty where nothing lags."""
        ...

    def has_reached(self, position: str) -> bool:
        """Whether all is there that was stored up to a position of another handle."""
        ...

    def kept_snapshots(self) -> dict[int, str]:
        """Names of the index files of handles on this machine that cannot store, by model: of those `Reads.snapshot`
        does not tell who can.
        """
        ...

    def schema(self) -> str:
        """The version of what is stored."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of the programs that it stands on, by name."""
        ...

    def size_bytes(self) -> int:
        """Bytes that it takes, without what is derived from it."""
        ...

    def backups(self) -> list[Path]:
        """Copies from before upgrades, which nothing needs."""
        ...

    def vacuum(self) -> None:
        """Give the room of deleted rows back."""
        ...

    def problems(self) -> list[str]:
        """What is found wrong with the storage itself, in words; nothing, one hopes."""
        ...

    def rebuild_indexes(self) -> bool:
        """Make the storage's own indexes anew, by which rows are found, where nothing but these is wrong; whether that
        was done.
        """
        ...

    def damaged_rows(self) -> list[Damaged]:
        """Rows that are not what was stored, but for vectors; see `PhotoStorage.bad_vectors`."""
        ...

    def mend(self, damaged: Sequence[Damaged]) -> list[str]:
        """Put right what can be put right of damaged rows, and forget the others. Returns what was done in words, which
        name what cannot be had again.
        """
        ...


class Reads(Protocol):
    """What questions ask, and the prompts that they leave.

    A cold command has only this: nothing here may need an import that takes longer than the answer. Each method runs a
    number of queries that does not depend on how many photos there are.
    """

    def models(self) -> list[ModelRow]:
        """All models of the library, oldest first."""
        ...

    def default_model(self) -> ModelRow | None:
        """The model that the library uses unless told otherwise; None before the first one was loaded."""
        ...

    def find_model(self, spec: ModelSpec) -> ModelRow | None:
        """The newest model that was loaded as `spec`, with all that belongs to it; None if there is none."""
        ...

    def files_revision(self) -> int:
        """Grows with every change of the files, and with every prune; whatever else is stored leaves it as it is.
        Together with a model's watermark and generation it names a state of the library.
        """
        ...

    def facts_state(self) -> tuple[int, int]:
        """`files_revision`, and what grows with every change of facts, of images or of sidecars: together they name a
        state of `PhotoStorage.facts_table`.
        """
        ...

    def digest_of(self, path: str) -> bytes | None:
        """Digest of the image that a path shows, or showed when it was last there; None if the path is not known."""
        ...

    def files(self, prefixes: Sequence[str] | None = None) -> FileTable:
        """Files that are there and have an image, folder by folder, each by name, both by code point; with the revision
        of that moment.

        Args:
            prefixes: files and folders (their whole subtrees) to restrict to; None for the whole library. What several
                of them select comes once; what none of the library's files is, or lies below, selects nothing.
        """
        ...

    def files_of(self, image_ids: Collection[int]) -> FileTable:
        """Files that are there and show one of the images, in the same order as `files`."""
        ...

    def skipped(self, prefixes: Sequence[str] | None = None) -> list[SkippedFile]:
        """Files that are there but cannot be used, in the same order as `files`."""
        ...

    def image_vectors(self, digests: Collection[bytes], model: ModelRow) -> dict[bytes, FloatArray]:
        """Cached vectors of images, by content digest; those that have none under the model are left out."""
        ...

    def prompt_vectors(self, texts: Collection[str], model: ModelRow, *, truncated: bool) -> dict[str, FloatArray]:
        """Cached vectors of prompts by their exact text; those of cut texts only where the caller allows `truncated`
        ones. Those that are not cached are left out. The handle remembers which were asked for; see `record_uses`.
        """
        ...

    def record_uses(self) -> int:
        """Record that the prompts that were asked for through this handle were asked for today, unless that is recorded
        already, or somebody else writes, or nothing can be stored: nobody waits for this, and it never fails. Returns
        how many. `save_prompts` records them, too.
        """
        ...

    def save_prompts(
        self, texts: Sequence[str], vectors: FloatArray, model_id: int, *, truncated: Sequence[bool]
    ) -> int:
        """Store prompts, in the order given; those that somebody else stored meanwhile are left as they are, damaged
        ones replaced. All of them count as asked for now.

        Where there are more of them in all than `config.PROMPTS`, or they take more than `config.PROMPTS_MB`, their
        vectors and their texts twice, those go that were not asked for for the longest and that belong to no version of
        a saved label set, until a tenth of it is free. What was asked for before what is a matter of the order in which
        it was recorded, not of the clock.

        Args:
            vectors: float32, shape (len(texts), dim).
            truncated: whether each text was cut to the model's context.

        Returns:
            How many went.

        Raises:
            LibraryReadOnly, LibraryBusy, ModelPruned, StorageFull
        """
        ...

    def embeddings_after(self, model: ModelRow, seq: int) -> tuple[int, IdArray, FloatArray]:
        """Embeddings stored after a sequence number.

        Returns:
            The last sequence number, which is the next watermark (`seq` if there is nothing), image ids (n,), vectors
            float32 (n, dim), in the order of their numbers. None of a model that is not there.

        Warns:
            VectorsDamaged: some are left out; see `zsindex.storage.stored`.
        """
        ...

    def embeddings(
        self, model: ModelRow, *, after: int
    ) -> AbstractContextManager[tuple[int, Iterator[tuple[int, IdArray, FloatArray]]]]:
        """How many embeddings were stored after a sequence number, and these, in order, some thousand at a time.

        Each part is its last sequence number, image ids (b,) and vectors float32 (b, dim). All of it is one moment's
        view, whatever is stored and deleted meanwhile, and more than memory holds may come. Damaged ones are counted,
        and do not come.
        """
        ...

    def has_vectors(self, model_id: int) -> bool:
        """Whether there is any embedding of a model."""
        ...

    def count_after(self, model_id: int, seq: int) -> int:
        """How many embeddings of a model were stored after a sequence number."""
        ...

    def generation(self, model_id: int) -> int:
        """How often embeddings of the model were deleted, whatever deleted how many at a time; -1 for a model that the
        library does not hold.
        """
        ...

    def is_unchanged(self, model_id: int, generation: int, seq: int) -> bool:
        """Whether `generation` is still that, and `count_after` 0, at the same moment."""
        ...

    def image_ids_of(self, model_id: int, *, through: int) -> IdArray:
        """Image ids, ascending, of the embeddings of a model that are there now with a number up to `through`: one that
        was deleted and made anew has a later number.
        """
        ...

    def snapshot(self, model_id: int) -> SnapshotRow | None:
        """What is recorded of a model's index file; None before the first one."""
        ...

    def derived(self, model_id: int, kind: str, key: str) -> Any:
        """What was computed before under a key of at most 64 characters; None if it was not."""
        ...

    def label_sets(self) -> list[SavedLabelSet]:
        """The newest version of each label set, by name."""
        ...

    def label_set_versions(self, name: str) -> list[SavedLabelSet]:
        """All versions of a label set, oldest first; empty where there is none of that name."""
        ...

    def template_sets(self) -> dict[str, tuple[str, ...]]:
        """Template sets by name, in the order of names."""
        ...


class PhotoStorage(Protocol):
    """Photos, models and the index: what syncs store, and what is asked more rarely."""

    def add_model(self, info: ModelInfo, *, make_default: bool) -> ModelRow:
        """Record a model unless its fingerprint is known; the first one becomes the default in any case.

        Returns:
            Its row, as it was recorded first.
        """
        ...

    def roots(self) -> list[str]:
        """Folders that were synced, in path order."""
        ...

    def add_roots(self, paths: Iterable[str]) -> None:
        """Remember folders as synced now; one inside another root is part of that root."""
        ...

    def known_files(self, folder: str, model_id: int | None) -> dict[str, KnownFile]:
        """What the library knows of one folder, by file name."""
        ...

    def every_image_has_vector(self, model_id: int) -> bool:
        """Whether all images have a vector under the model: two counts, where asking for each file takes far longer."""
        ...

    def last_seen(
        self, folder_paths: Sequence[str], model_id: int | None, *, all_have_vectors: bool = False
    ) -> dict[str, str]:
        """The `listing_text` of the files of some folders that were there at the last look.

        Args:
            all_have_vectors: `every_image_has_vector` said so just now.

        Returns:
            By folder. Where an unchanged stat does not settle what a file is, because it could not be used or has no
            vector under the model, its time is missing, so that the text equals no other. Folders without files are
            absent.
        """
        ...

    def folders_under(self, path: str) -> list[str]:
        """Known folders at or below a path that hold files which are not missing."""
        ...

    def has_vector(self, digest: bytes, model_id: int) -> bool:
        """Whether the image with a digest has a vector under the model."""
        ...

    def claims(self, model_id: int, *, shared: bool = False) -> AbstractContextManager[Claims]:
        """Claims of images to be encoded under a model, until the end of the ``with`` block; for whoever holds the sync
        lock. What one handle holds is `Claim.MINE` to no other.

        Args:
            shared: several processes work for the holder of the lock, and claim images against one another. Where the
                lock itself is shared, they always do.
        """
        ...

    def digests_of(self, paths: Iterable[str]) -> dict[str, bytes]:
        """`digest_of` many paths; those that are not known, or show no image, are left out."""
        ...

    def images_of(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Ids of the images with these digests, of those that the library knows."""
        ...

    def details_of(self, image_ids: Collection[int]) -> list[FileDetails]:
        """What is known of the files that are there and show one of the images; in no particular order."""
        ...

    def image(self, image_id: int) -> ImageRecord | None:
        """An image by its id, without its vector; None if there is none."""
        ...

    def facts_of(self, image_ids: Collection[int]) -> dict[int, Facts]:
        """What the metadata of images says, by their ids, with their size and format; those of which it was never read
        are left out.
        """
        ...

    def facts_of_files(self, image_ids: Collection[int]) -> dict[str, Facts]:
        """The facts of the files that are there and show one of the images, put together as for `facts_table`; by path,
        in the order of `Reads.files`.
        """
        ...

    def facts_of_sidecars(self, paths: Collection[str]) -> dict[str, Facts]:
        """What sidecars say, by their own paths; those of which nothing is stored are left out."""
        ...

    def facts_table(self, known: FactsTable | None = None) -> FactsTable:
        """The facts of all files that are there and show an image: of their content and their sidecar, of their name
        and their time, as `zsindex.photos.together` puts them together.

        Args:
            known: an earlier one, of which what has not changed is taken; itself where nothing has.
        """
        ...

    def without_facts(self, *, after: int, limit: int, again: bool = False) -> list[FileDetails]:
        """Files that are there and were seen on this disk, of images whose metadata was never read: in the order of
        their images, of `limit` images at most, those with an id beyond `after`.

        Args:
            again: also of those of which nothing could be read, which are stored as saying nothing.
        """
        ...

    def count_without_facts(self, *, again: bool = False) -> int:
        """Of how many images `without_facts` has files."""
        ...

    def save_facts(self, told: Mapping[int, Facts]) -> None:
        """Store what the metadata of images says, by their ids, in place of what was stored of it. Those that are gone
        are left out.
        """
        ...

    def has_sidecars(self) -> bool:
        """Whether facts of any sidecar are stored: where there are none, nobody need ask by folder."""
        ...

    def last_sidecars(self, folder_paths: Sequence[str]) -> dict[str, str]:
        """The `listing_text` of the sidecars of some folders whose facts are stored, by folder; in any order. Folders
        without them are absent.
        """
        ...

    def save_sidecar_facts(self, told: Sequence[tuple[Candidate, Facts | None]]) -> None:
        """Store what sidecars say, each of them another path, in place of what they said before; None for those that
        are gone. They count for the photos of their folder that have their name, which need not be known yet; what they
        say goes when their folder is forgotten.
        """
        ...

    def save(
        self, outcomes: Sequence[FileOutcome], model_id: int | None, *, since: str = "", receipt: str = ""
    ) -> Counter[str]:
        """Store what came of reading some files, each of them another path: their images, the vectors that came with
        them, and what the files are now. They are there from now on.

        A file that is new, and shows an image whose other file has vanished, has moved: the row of the vanished one, of
        several the last to vanish, becomes that of the new one. Files of this batch are never taken for vanished.

        Args:
            receipt: the name of a receipt that is kept in the same transaction; see `receipts`.

        Returns:
            How many files were ``added``, ``changed``, ``moved``, ``unchanged`` and ``skipped``; and ``refound``: how
            many of the moved ones had been marked as missing after `since`.
        """
        ...

    def receipts(self, name: str) -> list[Receipt]:
        """What was stored under a name, a receipt for each batch in no particular order. So whoever does not hear what
        came of a batch, because its process has ended, need not store or count it twice.

        Names have parts between slashes, ``WHEN/WHO/BLOCK``, the first a time as `zsindex.storage.rows.now` gives it;
        and 47 characters at most. A name without its last parts stands for all that begin with it.
        """
        ...

    def take_receipts(self, name: str) -> list[Receipt]:
        """`receipts`, which are then forgotten; as are all those a week older, whose owners were killed."""
        ...

    def mark_missing(self, folder: str, names: Collection[str] | None = None) -> int:
        """Mark files of one folder, not those of folders in it, as vanished; None for all of them. Their vectors stay.
        Returns how many were there before.

        What was never seen cannot vanish: imported photos stay.
        """
        ...

    def seal_folders(self) -> None:
        """At the end of what stores files: what folders hold is compared with what it is now from here on."""
        ...

    def save_images(self, records: Sequence[ImageRecord], model_id: int) -> None:
        """Store images that are no files of the library, with their vectors. The next prune forgets them."""
        ...

    def all_prompt_vectors(self, model: ModelRow) -> FloatArray:
        """Every cached prompt's vector under a model, float32 (n, dim), in the order in which they were stored."""
        ...

    def save_snapshot(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record a model's snapshot; returns the one that it replaces, whose file nobody opens any more."""
        ...

    def mark_verified(self, file: str, verified: str) -> None:
        """Remember what an index file looked like when its checksum was found to be right."""
        ...

    def counts(self) -> dict[str, int]:
        """Files, images and their states, for `status`."""
        ...

    def incomplete(self) -> list[IncompletePhoto]:
        """Files that were read although they are cut short, by folder and name."""
        ...

    def skip_counts(self) -> dict[str, int]:
        """How many files are skipped for which reason, the most frequent first."""
        ...

    def model_sizes(self, model: ModelRow) -> dict[str, int]:
        """Images, prompts and bytes of vectors that the library holds under a model."""
        ...

    def bad_vectors(self, model: ModelRow) -> dict[str, list[int]]:
        """Ids of ``images`` and ``prompts`` whose vector is another one than was stored, or no finite unit vector of
        the right length; in the order in which they were stored.
        """
        ...

    def remove_vectors(
        self,
        model_id: int,
        bad: Mapping[str, Sequence[int]],
        *,
        instead: Mapping[int, FloatArray] | None = None,
    ) -> None:
        """Forget damaged vectors, as `bad_vectors` found them, so that they are made anew: a new generation.

        Args:
            instead: the right vectors of some of these images, by their ids, where somebody has kept them.
        """
        ...

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What grows, with how many there are of it and how many bytes these take: ``prompts``, ``uploads`` (images
        that no file shows, nor showed when it was last there), ``vanished`` (images of files that are gone),
        ``label sets`` (versions), ``runs``, ``jobs``, ``derived``, ``corrections``, ``decisions``, ``albums``,
        ``surveys`` (with their looks) and ``sidecars``.
        """
        ...

    def make_room(self, *, prompt_days: int | None = None, upload_bytes: int) -> dict[str, int]:
        """Forget what nobody has asked for in a long time, and what only spared work. Whoever calls it holds
        `Storage.sync_lock`: a sync relies on vectors that it has found. Models that lose vectors have a new generation.

        Args:
            prompt_days: prompts go that nobody asked for in so many days and that belong to no version of a saved label
                set; as the library counts days, see `zsindex.storage.uses`. None: no prompts.
            upload_bytes: of images that no file shows, nor showed when it was last there, those go that came first
                where their vectors take more, until a tenth is free; but none that somebody has said what it shows.

        Returns:
            How many ``prompts`` and ``images`` went.
        """
        ...

    def prunable(
        self, model_ids: Sequence[int] = (), under: Sequence[str] = (), *, prompts: Forgettable = NO_PROMPTS
    ) -> dict[str, int]:
        """What `prune` with the same arguments would forget."""
        ...

    def prune(
        self, model_ids: Sequence[int] = (), under: Sequence[str] = (), *, prompts: Forgettable = NO_PROMPTS
    ) -> dict[str, int]:
        """Forget vanished files, images that no file shows, their vectors, and whole models with their snapshots,
        temperatures and what was derived under them. Label sets, corrections, decisions, albums, surveys and runs stay.
        Models that lose vectors have a new generation.

        Args:
            model_ids: models to forget with all their vectors and prompts.
            under: folders to forget with all files below, whether they are there or not.
            prompts: also these, under any model.

        Returns:
            How many ``files``, ``images``, ``vectors``, ``prompts`` and ``models`` went, and the bytes of vectors and
            prompts, ``vector_bytes`` and ``prompt_bytes``.
        """
        ...


class LabelStorage(Protocol):
    """The label lab: label sets, templates, corrections, decisions about duplicates, albums, surveys, thresholds,
    temperatures, runs and sidecars.

    Bodies and documents are plain data for JSON. What is stored is a copy: who changes what was given or returned does
    not change the library.
    """

    def save_label_set(self, name: str, body: Mapping[str, Any]) -> int:
        """Store a label set as its newest version, unless that says the same, in the same order of labels.

        Returns:
            The number of the version that says so, counted from 1 for each name.
        """
        ...

    def remove_label_set(self, name: str) -> bool:
        """Forget a label set with all versions and thresholds, but not its corrections, which are a person's work.
        False if there was none of that name.
        """
        ...

    def save_template_set(self, name: str, templates: Sequence[str]) -> None:
        """Store templates, in place of those of the same name."""
        ...

    def remove_template_set(self, name: str) -> bool:
        """Forget a template set; False if there was none of that name."""
        ...

    def corrections(self, label_set: str) -> list[CorrectionEntry]:
        """The log of a label set, oldest entry first."""
        ...

    def add_corrections(self, label_set: str, entries: Sequence[CorrectionEntry]) -> int:
        """Append entries as one batch, which can be undone together.

        Returns:
            The number of the batch, which no other one has or had; 0 if there are no entries.
        """
        ...

    def undo_corrections(self, label_set: str, *, only: int | None = None) -> list[CorrectionEntry]:
        """Take the last batch away, or `only` the one of this number, if it is the last; returns its entries, none if
        there was no such batch.
        """
        ...

    def corrected_at(self, label_set: str) -> dict[bytes, str]:
        """When the last entry of a label set's log about an image was made, as ISO dates and times, by digest."""
        ...

    def decisions(self) -> list[DecisionEntry]:
        """The log of decisions about duplicates, oldest entry first."""
        ...

    def add_decisions(self, entries: Sequence[DecisionEntry]) -> None:
        """Append entries as one batch, which can be undone together."""
        ...

    def undo_decisions(self) -> list[DecisionEntry]:
        """Take the last batch away; returns its entries, none if there was no batch."""
        ...

    def albums(self) -> list[AlbumRow]:
        """All albums, by name in the order of code points."""
        ...

    def save_album(self, name: str, body: Mapping[str, Any]) -> None:
        """Store a question under a name, in place of another one, of which what was seen is forgotten; one that says
        the same stays as it is.
        """
        ...

    def change_album(self, name: str, change: Callable[[dict[str, Any] | None], Mapping[str, Any]]) -> None:
        """Store what `change` makes of an album's body, or of None if there is none, with no other change in between.
        What was seen of it stays.
        """
        ...

    def see_album(self, name: str, photos: Mapping[bytes, str]) -> bool:
        """Record what an album holds now: paths by digest. False if there is none of that name."""
        ...

    def remove_album(self, name: str) -> bool:
        """Forget an album; False if there was none of that name."""
        ...

    def surveys(self) -> list[SurveyRow]:
        """All surveys, oldest first."""
        ...

    def begin_survey(self, kind: str, question: Mapping[str, Any], image_ids: IdArray | None = None) -> int:
        """Begin a survey, unless one of that kind and question goes on; returns its id, which is never given again.

        Args:
            image_ids: int64, ascending.
        """
        ...

    def end_survey(self, survey_id: int, result: Mapping[str, Any] | None) -> bool:
        """Say that a survey has ended, and what came out. False if there is none of that id."""
        ...

    def forget_survey(self, survey_id: int) -> bool:
        """Forget a survey with its looks; False if there was none of that id."""
        ...

    def looks(self, survey_id: int) -> list[LookRow]:
        """The looks of a survey, by number; none if there is no such survey."""
        ...

    def add_looks(self, survey_id: int, looks: Sequence[LookRow]) -> bool:
        """Add looks. False, and nothing is added, if a number is taken (somebody else was faster) or there is no such
        survey, or it has ended.
        """
        ...

    def answer_look(self, survey_id: int, number: int, answer: str | None, *, waiting: bool = False) -> bool:
        """Store an answer, in place of an earlier one, or with None take it back. Looks with higher numbers that have
        no answer are forgotten when one is taken back: it may have decided which they are. False if there is no such
        look, or its survey has ended; with `waiting` also if the look has an answer already.
        """
        ...

    def thresholds(self, label_set: str) -> dict[str, ThresholdRow]:
        """Thresholds of a label set by label, in the order in which they were stored."""
        ...

    def save_thresholds(self, label_set: str, chosen: Iterable[tuple[str, float, Mapping[str, Any]]]) -> None:
        """Store (label, rate, how it was chosen), in place of those of the same labels."""
        ...

    def remove_thresholds(self, label_set: str, labels: Sequence[str] | None = None) -> int:
        """Forget thresholds of some labels, or of all; returns how many."""
        ...

    def temperature(self, model_id: int) -> tuple[float, dict[str, Any]] | None:
        """The temperature that was fitted for a model, and how; None if there is none."""
        ...

    def save_temperature(self, model_id: int, temperature: float, fit: Mapping[str, Any]) -> None:
        """Store a model's temperature, in place of an earlier one."""
        ...

    def remove_temperature(self, model_id: int) -> bool:
        """Forget a model's temperature; False if there was none."""
        ...

    def save_derived(self, model_id: int, kind: str, key: str, body: Any, *, keep: int | None = None) -> None:
        """Remember what took time to compute. Of more than `keep` of a kind the oldest go; default: `MOST_DERIVED`."""
        ...

    def runs(self) -> list[tuple[str, dict[str, Any], str]]:
        """(key, document, when) of each run, newest first."""
        ...

    def run(self, key: str) -> tuple[str, dict[str, Any], str] | None:
        """(key, document, when) of a run; None if it was not recorded."""
        ...

    def run_files(self) -> dict[str, dict[str, Any]]:
        """Of each run, newest first, only what its document says of the stored answer; documents may be long."""
        ...

    def save_run(
        self, key: str, document: Mapping[str, Any], *, keep: int, max_size: int = MOST_QUESTIONS
    ) -> list[str]:
        """Record a run, or that it was asked for again. Of more than `keep`, or `max_size` characters of documents in
        all, the oldest go.

        Returns:
            Names of the files with the stored answers that are recorded no more.
        """
        ...

    def sidecar_paths(self) -> list[str]:
        """Paths of all sidecars that zsindex wrote into, in order."""
        ...

    def sidecars(self, paths: Sequence[str]) -> dict[str, SidecarRow]:
        """What zsindex wrote into some sidecars, a few hundred at most, by path; those that it did not are left out."""
        ...

    def save_sidecars(self, rows: Sequence[SidecarRow], *, forget: Sequence[str] = ()) -> None:
        """Record what was written into sidecars, in place of earlier records, and forget others, a few hundred at most.

        Args:
            rows: `written_at` is put in.
            forget: paths.
        """
        ...


class JobStorage(Protocol):
    """The jobs of a service, which outlive the process that runs them. Documents are plain data for JSON."""

    def jobs(self, limit: int, *, states: Collection[str] | None = None) -> list[JobRow]:
        """The newest jobs, newest first; only those in some states, or all."""
        ...

    def job(self, job_id: str) -> JobRow | None:
        """A job by its id; None if there is none."""
        ...

    def save_job(self, job_id: str, kind: str, state: str, document: Mapping[str, Any], *, keep: int) -> None:
        """Store a job, in place of what was stored of it before; its kind and when it came stay. Of more than `keep`
        the oldest go.
        """
        ...

    def change_job(
        self, job_id: str, change: Callable[[JobRow], tuple[str, Mapping[str, Any]] | None]
    ) -> JobRow | None:
        """Change a job by what is stored of it, which nobody else changes meanwhile.

        Args:
            change: gives the new state and document; None to leave them as they are.

        Returns:
            The job as it is now; None if there is none.
        """
        ...


class BulkStorage(Protocol):
    """Photos with vectors that somebody else computed, by the thousand, in and out.

    They often have no file on this disk. Such a photo has no content that could identify it, so its path does: its
    image has `path_digest` of the path, and its file the size and time stamp `NEVER_SEEN`, which no file has.
    """

    def known_photos(self, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
        """What the library knows of photos, by path."""
        ...

    def save(self, photos: Sequence[ImportedPhoto], vectors: FloatArray, model_id: int) -> Counter[str]:
        """Store photos and their vectors, float32 (len(photos), dim), in one transaction.

        A vector that an image has already stays. Of a path that stands there twice the vectors are equal. Photos whose
        content is not what the path shows here (`ImportedPhoto.shown`) are left out.

        Returns:
            How many vectors were ``stored`` and ``kept``, how many paths were ``added``, and how many photos were
            ``found``, ``unread`` and ``changed``, all as `zsindex.exchange.vectors.ImportReport` counts them.
        """
        ...

    def exporting(self, model: ModelRow, paths: Sequence[str] | None) -> AbstractContextManager[ExportView]:
        """A consistent view of the photos at or below `paths`, for as long as it lasts."""
        ...


class NearestStorage(Protocol):
    """Searches in the storage, and the indexes for them: copies of vectors with less precision, in an approximate index
    of the server's. They are derived: what is found is what `embeddings` hold, and nothing else needs them.

    A model has one in use, and may have another that is being made. Who makes one holds `lock`.
    """

    @property
    def lock(self) -> Lock:
        """Held by whoever makes or drops one."""
        ...

    def row(self, model_id: int, *, being_made: bool = False) -> NearestRow | None:
        """What is recorded of a model's index; None where there is none."""
        ...

    def rows(
        self, model: ModelRow, *, after: int = 0, through: int | None = None, image_ids: IdArray | None = None
    ) -> AbstractContextManager[Iterator[tuple[IdArray, IdArray, FloatArray]]]:
        """Embeddings between two sequence numbers, of some images or of all, some thousand at a time, as of one moment.

        Each part is sequence numbers (b,), image ids (b,) and vectors float32 (b, dim). They are in the order of
        their numbers, unless images are given.

        Warns:
            VectorsDamaged: some are left out.
        """
        ...

    def last(self, model_id: int) -> int:
        """The last sequence number of a model's embeddings; 0 where it has none."""
        ...

    def candidates(
        self,
        row: NearestRow,
        model: ModelRow,
        query: FloatArray,
        n: int,
        *,
        ef_search: int | None,
        through: int,
        image_ids: IdArray | None = None,
        most_scanned: int = 0,
        below: float | None = None,
    ) -> Candidates | None:
        """The `n` of an index that come first for a query, as it calculates similarities; None if it is gone.

        Args:
            query: float32 (dim,).
            ef_search: how thoroughly the graph is searched; None: all vectors are compared, and none is missed.
            through: only embeddings with a number up to this.
            image_ids: only these.
            most_scanned: give up after so many that are none of these.
            below: only those with at most this similarity, as the index calculates it.

        Raises:
            NoSearchIndex: this role may not read it.
        """
        ...

    def found(
        self, row: NearestRow, queries: FloatArray, n: int, *, ef_search: int, most_scanned: int
    ) -> list[IdArray] | None:
        """Ids of the `n` images that come first in an index for each of some queries, float32 (q, dim); None if it is
        gone.
        """
        ...

    def prepare(self) -> None:
        """See to it that the server can hold indexes.

        Raises:
            NoSearchIndex: it lacks what is needed for them, or the role lacks the rights.
            LibraryReadOnly
        """
        ...

    def begin(self, model: ModelRow, *, m: int, ef_construction: int) -> NearestRow:
        """Make an empty one, which is recorded as being made."""
        ...

    def cut_back(self, row: NearestRow) -> int:
        """Remove whatever in one came after its watermark, or has gone from the library; returns how many are left."""
        ...

    def add(self, row: NearestRow, seqs: IdArray, ids: IdArray, vectors: FloatArray) -> None:
        """Add embeddings. They count when the row is saved with a watermark that includes them."""
        ...

    def save(self, model_id: int, row: NearestRow | None, *, being_made: bool = False) -> None:
        """Record one, in place of what was recorded; None: that there is none."""
        ...

    def make_graph(
        self,
        row: NearestRow,
        *,
        memory_mb: int | None,
        report: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Make the graph of one, unless it has one.

        Args:
            memory_mb: that the server may take for it; None: what it takes of its own accord.
            report: called with the share that is done.

        Returns:
            False where it was stopped; nothing of it is kept then.
        """
        ...

    def sample(self, row: NearestRow, model: ModelRow, n: int) -> tuple[IdArray, FloatArray]:
        """Ids and vectors of at most `n` images of one, the same ones as long as it stays as it is."""
        ...

    def sample_prompts(self, model: ModelRow, n: int) -> FloatArray:
        """Vectors of at most `n` prompts."""
        ...

    def size_bytes(self, row: NearestRow) -> int | None:
        """What one takes on the server; None if it is gone."""
        ...

    def remove_strays(self) -> int:
        """Remove what no model has recorded; returns how many."""
        ...


class ExportView(Protocol):
    """Photos with their vectors under one model, as of one moment.

    Attributes:
        n_photos: those that have a vector.
        n_without: those that have none.
    """

    n_photos: int
    n_without: int

    def batches(self, sizes: Iterator[int], *, rows: range | None = None) -> Generator[ExportedPhotos, None, None]:
        """All that have a vector, folder by folder, each by name, in batches of `sizes`, which add up to `n_photos`.
        Whoever does not ask for all of them closes it before the view ends.

        Args:
            rows: only these of them, by their places in that order; then `sizes` add up to their number.
        """
        ...
