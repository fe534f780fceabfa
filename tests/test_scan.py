"""`scan` on real folders: what is found, in which order, and what becomes of everything that is no plain photo."""

from __future__ import annotations

import json
import os
import socket
import string
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unprivileged import reachable_folder, run_unprivileged
from zsindex.photos.formats import PHOTO_EXTENSIONS, RAW_EXTENSIONS, extension
from zsindex.photos.scan import scan
from zsindex.records import SkippedEntry, SkipReason


def touch(root: Path, *names: str) -> None:
    """Make files, with their folders; scanning never looks inside."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found(root: Path, *, below: Sequence[Path] = (), **options: object) -> list[str]:
    """Paths of all candidates relative to `root`, in the order they came."""
    listings = scan([str(p) for p in below] or [str(root)], **options)  # type: ignore[arg-type]
    return [os.path.relpath(c.path, root) for listing in listings for c in listing.candidates]


def skips(root: Path) -> dict[str, SkippedEntry]:
    return {entry.name: entry for listing in scan([str(root)]) for entry in listing.skipped}


# --- what is found ----------------------------------------------------------------------------------------------------


def test_candidates_carry_what_stat_says(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "a.jpg", ns=(1, 1_234_567_890_123_456_789))
    [listing] = scan([str(tmp_path)])
    [candidate] = listing.candidates
    assert (candidate.folder, candidate.name, candidate.size) == (str(tmp_path), "a.jpg", 5)
    assert candidate.mtime_ns == (tmp_path / "a.jpg").stat().st_mtime_ns
    assert listing.complete
    assert listing.error is None


def test_one_listing_per_folder_depth_first_and_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "z.jpg", "b/2.jpg", "b/1.jpg", "b/a/x.jpg", "a/y.jpg", "B/upper.jpg")
    (tmp_path / "empty").mkdir()
    folders = [os.path.relpath(listing.folder, tmp_path) for listing in scan([str(tmp_path)])]
    assert folders == [".", "B", "a", "b", "b/a", "empty"]
    assert found(tmp_path) == ["z.jpg", "B/upper.jpg", "a/y.jpg", "b/1.jpg", "b/2.jpg", "b/a/x.jpg"]


def test_extensions_count_whatever_their_case_and_other_files_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a.JPG", "b.Jpeg", "c.HEIC", "d.nef", "e.txt", "f.mp4", "jpg", "g.jpg.bak", "h.tar.png")
    [listing] = scan([str(tmp_path)])
    assert [c.name for c in listing.candidates] == ["a.JPG", "b.Jpeg", "c.HEIC", "d.nef", "h.tar.png"]
    assert listing.skipped == ()


def test_the_extension_list_is_lower_case_and_holds_the_raw_formats() -> None:
    assert RAW_EXTENSIONS < PHOTO_EXTENSIONS
    assert all(e == e.lower() and not e.startswith(".") for e in PHOTO_EXTENSIONS)
    assert [extension(n) for n in ("a.JPG", "a", ".jpg", "a.tar.png")] == ["jpg", "", "", "png"]


def test_composed_and_decomposed_names_are_two_files_and_keep_their_spelling(tmp_path: Path) -> None:
    names = {unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD")}
    touch(tmp_path, *names)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes both spellings for one name")
    assert set(found(tmp_path)) == names


def test_an_empty_file_is_a_candidate_because_decoding_reports_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert found(tmp_path) == ["a.jpg"]


# --- what is left out -------------------------------------------------------------------------------------------------


def test_hidden_files_and_folders_need_to_be_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".b.jpg", ".private/c.jpg", "._a.jpg", ".Trash-1000/d.jpg", ".git/e.jpg")
    assert found(tmp_path) == ["a.jpg"]
    assert found(tmp_path, include_hidden=True) == [".b.jpg", "a.jpg", ".private/c.jpg"]


@pytest.mark.parametrize(
    "name",
    ["node_modules", "@eaDir", "System Volume Information", "$RECYCLE.BIN", "#recycle", "lost+found", "__MACOSX"],
)
def test_folders_of_systems_are_not_entered_unless_named(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"{name}/a.jpg", f"{name.lower()}2/b.jpg")
    assert found(tmp_path) == [f"{name.lower()}2/b.jpg"]
    assert found(tmp_path, below=[tmp_path / name]) == [f"{name}/a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.png", ["a.jpg", "2019/c.jpg", "2019/raw/d.dng", "x/2019/e.jpg"]),
        ("*.PNG", ["a.jpg", "b.png", "2019/c.jpg", "2019/raw/d.dng", "x/2019/e.jpg"]),
        ("raw", ["a.jpg", "b.png", "2019/c.jpg", "x/2019/e.jpg"]),
        ("2019", ["a.jpg", "b.png"]),
        ("2019/", ["a.jpg", "b.png"]),
        ("/2019", ["a.jpg", "b.png", "x/2019/e.jpg"]),
        ("/2019/", ["a.jpg", "b.png", "x/2019/e.jpg"]),
        ("2019/raw", ["a.jpg", "b.png", "2019/c.jpg", "x/2019/e.jpg"]),
        ("2019/*.dng", ["a.jpg", "b.png", "2019/c.jpg", "x/2019/e.jpg"]),
        ("*/e.jpg", ["a.jpg", "b.png", "2019/c.jpg", "2019/raw/d.dng"]),
        ("a.jpg/", ["a.jpg", "b.png", "2019/c.jpg", "2019/raw/d.dng", "x/2019/e.jpg"]),
        ("[ab].*", ["2019/c.jpg", "2019/raw/d.dng", "x/2019/e.jpg"]),
        ("", ["a.jpg", "b.png", "2019/c.jpg", "2019/raw/d.dng", "x/2019/e.jpg"]),
    ],
)
def test_exclude_patterns(tmp_path: Path, pattern: str, left: list[str]) -> None:
    touch(tmp_path, "a.jpg", "b.png", "2019/c.jpg", "2019/raw/d.dng", "x/2019/e.jpg")
    assert found(tmp_path, exclude=[pattern]) == left


def test_patterns_add_up(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.png", "c.gif", "d/e.jpg")
    assert found(tmp_path, exclude=["*.png", "d/", "/c.*"]) == ["a.jpg"]


def test_skipped_folders_are_not_entered_even_through_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "library/index/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "library")
    assert found(tmp_path, skip_folders=[str(tmp_path / "library"), str(tmp_path / "absent")]) == ["a.jpg"]


# --- links and roots --------------------------------------------------------------------------------------------------


def test_linked_folders_are_followed_last_so_that_real_paths_win(tmp_path: Path) -> None:
    touch(tmp_path, "root/real/a.jpg", "root/z.jpg", "elsewhere/b.jpg")
    (tmp_path / "root" / "another-name").symlink_to(tmp_path / "root" / "real")
    (tmp_path / "root" / "by-link").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path, below=[tmp_path / "root"]) == ["root/z.jpg", "root/real/a.jpg", "root/by-link/b.jpg"]


def test_link_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c.jpg")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "self.jpg").symlink_to(tmp_path / "a" / "self.jpg")
    assert found(tmp_path) == ["a/b/c.jpg"]
    assert skips(tmp_path)["self.jpg"].reason is SkipReason.BROKEN_LINK


def test_overlapping_roots_are_visited_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    assert found(tmp_path, below=[tmp_path / "sub", tmp_path, tmp_path]) == ["sub/b.jpg", "a.jpg"]


def test_a_linked_file_is_a_candidate_with_the_stat_of_its_target(tmp_path: Path) -> None:
    touch(tmp_path, "outside/data.bin")
    (tmp_path / "outside" / "data.bin").write_bytes(b"123")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").symlink_to(tmp_path / "outside" / "data.bin")
    [listing] = scan([str(tmp_path / "root")])
    assert [(c.name, c.size) for c in listing.candidates] == [("a.jpg", 3)]


def test_files_named_one_by_one_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    touch(tmp_path, "a/2.dat", "a/.hidden.jpg", "a/other.jpg", "b/1")
    listings = list(scan([str(tmp_path / name) for name in ("b/1", "a/2.dat", "a/.hidden.jpg")], exclude=["*"]))
    assert [[c.name for c in listing.candidates] for listing in listings] == [[".hidden.jpg", "2.dat"], ["1"]]
    assert not any(listing.complete for listing in listings)


def test_files_named_in_a_folder_that_is_visited_anyway_join_its_listing(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.dat")
    listings = list(scan([str(tmp_path / "a" / "2.dat"), str(tmp_path)]))
    assert [[c.name for c in listing.candidates] for listing in listings] == [[], ["1.jpg", "2.dat"]]
    assert all(listing.complete for listing in listings)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_broken_link_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
    assert {name: entry.reason for name, entry in skips(tmp_path).items()} == {"a.jpg": SkipReason.BROKEN_LINK}
    [listing] = scan([str(tmp_path / "a.jpg")])
    assert [entry.reason for entry in listing.skipped] == [SkipReason.BROKEN_LINK]


def test_a_pipe_and_a_socket_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with (
        tempfile.TemporaryDirectory() as short,
        socket.socket(socket.AF_UNIX) as server,
    ):  # a socket's path must be short
        server.bind(f"{short}/socket.jpg")
        assert skips(Path(short))["socket.jpg"].reason is SkipReason.NOT_A_FILE
    assert skips(tmp_path)["pipe.jpg"].reason is SkipReason.NOT_A_FILE
    assert found(tmp_path) == []


def test_a_folder_named_like_a_photo_is_reported_and_read(tmp_path: Path) -> None:
    touch(tmp_path, "holiday.jpg/a.jpg")
    assert found(tmp_path) == ["holiday.jpg/a.jpg"]
    entry = skips(tmp_path)["holiday.jpg"]
    assert entry.reason is SkipReason.NOT_A_FILE
    assert "folder" in entry.detail


def test_names_that_are_not_utf8_are_reported_in_a_form_that_can_be_stored(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"x")
    (tmp_path / os.fsdecode(b"f\xe9te")).mkdir()
    (tmp_path / os.fsdecode(b"f\xe9te") / "a.jpg").write_bytes(b"x")
    [listing] = scan([str(tmp_path)])
    assert listing.candidates == ()
    assert {entry.name: entry.reason for entry in listing.skipped} == {
        "caf\\xe9.jpg": SkipReason.UNDECODABLE_NAME,
        "f\\xe9te": SkipReason.UNDECODABLE_NAME,
    }
    json.dumps([entry.path for entry in listing.skipped]).encode()

    # The same names, given as roots.
    [folder] = scan([os.fsdecode(root + b"/f\xe9te")])
    assert (folder.folder, folder.complete) == (f"{tmp_path}/f\\xe9te", False)
    assert folder.error is not None
    [file] = scan([os.fsdecode(root + b"/caf\xe9.jpg")])
    assert [entry.name for entry in file.skipped] == ["caf\\xe9.jpg"]
    [inside] = scan([os.fsdecode(root + b"/f\xe9te/a.jpg")])
    assert inside.error is not None


def test_a_file_that_vanishes_between_listing_and_stat_is_simply_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")

    def sorted_while_somebody_deletes(entries: object, **options: object) -> list[object]:
        result = sorted(entries, **options)  # type: ignore[call-overload]
        (tmp_path / "a.jpg").unlink(missing_ok=True)
        return list(result)

    monkeypatch.setattr("zsindex.photos.scan.sorted", sorted_while_somebody_deletes, raising=False)
    [listing] = scan([str(tmp_path)])
    assert [c.name for c in listing.candidates] == ["b.jpg"]
    assert listing.skipped == ()


def test_a_root_that_is_gone_is_an_error_listing(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    gone, there = scan([str(tmp_path / "gone"), str(tmp_path)])
    assert gone.error is not None
    assert not gone.complete
    assert [c.name for c in there.candidates] == ["a.jpg"]


SCAN_AS_JSON = """
print(json.dumps([
    [l.folder, [c.name for c in l.candidates], [[s.name, s.reason] for s in l.skipped], l.complete, l.error]
    for l in zsindex.photos.scan.scan(sys.argv[1:])
]))
"""


def test_a_folder_without_permission_is_an_error_listing_and_the_rest_is_read() -> None:
    with reachable_folder() as root:
        touch(root, "closed/a.jpg", "open/b.jpg")
        (root / "closed").chmod(0)
        _, closed, readable = json.loads(run_unprivileged(SCAN_AS_JSON, str(root)))
        (root / "closed").chmod(0o755)
    assert closed == [f"{root}/closed", [], [], False, "Permission denied"]
    assert readable == [f"{root}/open", ["b.jpg"], [], True, None]


def test_files_that_may_be_listed_but_not_examined_are_skipped() -> None:
    with reachable_folder() as root:
        touch(root, "half/a.jpg", "half/b.txt")
        (root / "half").chmod(0o744)  # names can be read, but nothing behind them
        _, half = json.loads(run_unprivileged(SCAN_AS_JSON, str(root)))
        (root / "half").chmod(0o755)
    assert half == [f"{root}/half", [], [["a.jpg", "permission-denied"]], True, None]


# --- properties -------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "a.jpg", "b.JPG", "c.txt", ".h.png", "é.webp", "node_modules"])
TREES = st.recursive(st.none(), lambda children: st.dictionaries(NAMES, children, max_size=4), max_leaves=12).filter(
    lambda tree: tree is not None
)


@settings(max_examples=50, deadline=None)
@given(tree=TREES, links=st.lists(st.sampled_from(string.ascii_lowercase[:4]), unique=True))
def test_every_photo_is_found_exactly_once_whatever_the_tree_and_its_links(
    tree: dict[str, object], links: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        expected: set[str] = set()

        def build(folder: Path, node: dict[str, object], inside: bool) -> None:
            for entry, child in node.items():
                path = folder / entry
                if isinstance(child, dict):
                    path.mkdir()
                    build(path, child, inside and not entry.startswith(".") and entry != "node_modules")
                else:
                    path.write_bytes(b"x")
                    if inside and not entry.startswith(".") and extension(entry) in PHOTO_EXTENSIONS:
                        expected.add(str(path))

        (root / "tree").mkdir()
        build(root / "tree", tree, True)
        for link in links:  # each leads back to the top
            (root / "tree" / f"link-{link}").symlink_to(root / "tree")
        paths = [c.path for listing in scan([str(root / "tree")]) for c in listing.candidates]
    assert len(paths) == len(set(paths))
    assert set(paths) == expected
