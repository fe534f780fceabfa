"""Every storage: what the metadata of photos and sidecars says, image by image and of all files as columns."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.libraries import add_model, digest_of, unit_vectors
from tests.libraries import photo as seen
from zsindex.records import Candidate, Facts, Place, Taken, TakenFrom
from zsindex.storage.facts_table import NO_OFFSET, NO_TIME, TAKEN_FROM, FactsTable
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import FileOutcome, ImageRecord, ModelRow

VECTOR = unit_vectors(1)[0]


def save(storage: Storage, model: ModelRow, *paths: str) -> None:
    storage.photos.save([seen(path, vector=VECTOR) for path in paths], model.id)


ALL_FACTS = Facts(
    taken=Taken(datetime(2019, 7, 14, 15, 30, 12, 250_001), -34_200, TakenFrom.EXIF),
    make="Zürcher Kamerawerke",
    camera="Z 9",
    lens="35mm f/1.8",
    focal_length_mm=35.5,
    aperture=1.8,
    exposure_s=1 / 250,
    iso=4_000_000_000,
    place=Place(-33.8567844, 151.2152967, -12.5),
    width=4,
    height=3,
    orientation=6,
    format="PNG",
    animated=True,
    rating=-1.0,
    keywords=("owl", "größe 🦉", "Animals|Birds", '"'),
    caption="two\nlines",
)


def with_facts(path: str, facts: Facts) -> FileOutcome:
    outcome = seen(path, vector=VECTOR)
    assert outcome.image is not None
    return replace(outcome, image=replace(outcome.image, facts=facts))


def test_facts_come_back_as_they_were_stored(storage: Storage) -> None:
    model = add_model(storage)
    little = Facts(width=4, height=3, format="PNG")
    before_photography = replace(little, taken=Taken(datetime(1826, 1, 1), None, TakenFrom.XMP))
    told = {"/a/1": ALL_FACTS, "/a/2": little, "/a/3": before_photography}
    storage.photos.save([with_facts(path, facts) for path, facts in told.items()], model.id)
    save(storage, model, "/a/4")
    ids = storage.photos.images_of([digest_of(path) for path in (*told, "/a/4")])
    found = storage.photos.facts_of(ids.values())
    assert found == {ids[digest_of(path)]: facts for path, facts in told.items()}
    assert storage.photos.facts_of([]) == {}


def test_facts_of_an_image_are_stored_once_also_of_one_that_is_known(storage: Storage) -> None:
    model = add_model(storage)
    save(storage, model, "/a/1")
    (ident,) = storage.photos.images_of([digest_of("/a/1")]).values()
    storage.photos.save([with_facts("/a/1", ALL_FACTS)], model.id)
    assert storage.photos.facts_of([ident]) == {ident: ALL_FACTS}
    storage.photos.save([with_facts("/a/1", Facts(camera="another"))], model.id)
    assert storage.photos.facts_of([ident]) == {ident: ALL_FACTS}


def facts_by_path(table: FactsTable) -> dict[str, tuple[int | None, float | None, tuple[str, ...], str | None]]:
    """Of each file its time, rating, keywords and camera."""
    return {
        path: (
            None if table.taken_us[row] == NO_TIME else int(table.taken_us[row]),
            None if np.isnan(table.rating[row]) else float(table.rating[row]),
            table.keywords.of(row),
            None if table.camera.codes[row] < 0 else table.camera.texts[table.camera.codes[row]],
        )
        for row, path in enumerate(table.paths)
    }


def sidecar(path: str, size: int = 300, mtime_ns: int = 7) -> Candidate:
    folder, _, name = path.rpartition("/")
    return Candidate(folder, name, size, mtime_ns)


STARS = Facts(rating=5.0, keywords=("Birds|Owl", "owl"))


def test_all_facts_of_all_files_come_as_columns(storage: Storage) -> None:
    model = add_model(storage)
    told = {"/a/1.jpg": ALL_FACTS, "/a/2.jpg": Facts(width=4, height=3, format="PNG"), "/b/3.jpg": ALL_FACTS}
    storage.photos.save([with_facts(path, facts) for path, facts in told.items()], model.id)
    save(storage, model, "/a/IMG_20200102_030405.jpg")
    table = storage.photos.facts_table()
    files = storage.reads.files()
    assert table.paths == files.paths == ["/a/1.jpg", "/a/2.jpg", "/a/IMG_20200102_030405.jpg", "/b/3.jpg"]
    assert table.image_ids.tolist() == files.image_ids.tolist()
    assert table.was_read.tolist() == [True, True, False, True]
    assert table.state == storage.reads.facts_state()
    assert [TAKEN_FROM[code] for code in table.taken_from] == ["exif", "file", "name", "exif"]
    at = ALL_FACTS.taken
    assert at is not None
    assert table.taken_us[0] == (at.at - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    assert (table.offset_s[0], table.offset_s[2]) == (-34_200, NO_OFFSET)
    assert (table.latitude[0], table.longitude[0], table.altitude_m[0]) == (-33.8567844, 151.2152967, -12.5)
    assert np.isnan(table.latitude[1])
    texts = {name: getattr(table, name) for name in ("make", "camera", "lens", "format")}
    assert {name: found.texts[found.codes[3]] for name, found in texts.items()} == {
        "make": "Zürcher Kamerawerke", "camera": "Z 9", "lens": "35mm f/1.8", "format": "PNG"}  # fmt: skip
    assert texts["lens"].codes.tolist() == [0, -1, -1, 0]
    numbers = (table.focal_length_mm, table.aperture, table.exposure_s, table.iso, table.rating)
    assert [float(column[0]) for column in numbers] == [35.5, 1.8, 1 / 250, 4_000_000_000, -1]
    assert all(np.isnan(column[2]) for column in numbers)
    assert (table.width.tolist(), table.height.tolist()) == ([4] * 4, [3] * 4)
    assert (table.orientation.tolist(), table.animated.tolist()) == ([6, 0, 0, 6], [1, -1, -1, 1])
    assert [table.keywords.of(row) for row in range(4)] == [ALL_FACTS.keywords, (), (), ALL_FACTS.keywords]
    which = table.keywords.rows_with([table.keywords.texts.index("Animals|Birds")])
    assert which.tolist() == [True, False, False, True]
    assert storage.photos.facts_table(table) is table
    of_files = storage.photos.facts_of_files([int(table.image_ids[0]), int(table.image_ids[2])])
    assert list(of_files) == ["/a/1.jpg", "/a/IMG_20200102_030405.jpg"]
    assert of_files["/a/1.jpg"] == ALL_FACTS
    assert of_files["/a/IMG_20200102_030405.jpg"].taken == Taken(datetime(2020, 1, 2, 3, 4, 5), None, TakenFrom.NAME)


def test_a_sidecar_counts_for_the_photos_that_have_its_name(storage: Storage) -> None:
    model = add_model(storage)
    assert not storage.photos.has_sidecars()
    storage.photos.save_sidecar_facts([(sidecar("/a/1.jpg.xmp"), STARS), (sidecar("/a/2.xmp"), STARS)])
    assert storage.photos.has_sidecars()
    camera = Facts(camera="One", keywords=("fox",))
    photos = ("/a/1.jpg", "/a/1.png", "/a/2.jpg", "/a/2.png", "/b/1.jpg")
    storage.photos.save([with_facts(path, camera) for path in photos], model.id)
    before = storage.photos.facts_table()
    said = {path: (about[1], about[2], about[3]) for path, about in facts_by_path(before).items()}
    both, none = (5.0, ("fox", "Birds|Owl", "owl"), "One"), (None, ("fox",), "One")
    assert said == dict(zip(photos, (both, none, both, both, none), strict=True))
    assert storage.photos.last_sidecars(["/a", "/b", "/c"]) == {"/a": "1.jpg.xmp/300/7/2.xmp/300/7"}
    state = storage.reads.facts_state()
    two = Facts(rating=1.0, camera="Two", keywords=("owl", "fox", "elk"))
    storage.photos.save_sidecar_facts([(sidecar("/a/1.xmp"), two)])
    told = facts_by_path(storage.photos.facts_table(before))
    assert told["/a/1.jpg"][1:] == (5.0, ("fox", "Birds|Owl", "owl", "elk"), "One")
    assert told["/a/1.png"][1:] == (1.0, ("fox", "owl", "elk"), "One")
    changed = [(sidecar("/a/1.jpg.xmp", 301), Facts()), (sidecar("/a/1.xmp"), STARS), (sidecar("/a/2.xmp"), None)]
    storage.photos.save_sidecar_facts(changed)
    assert storage.reads.facts_state()[0] == state[0]
    assert storage.reads.facts_state()[1] > state[1]
    after = storage.photos.facts_table(before)
    said = {path: (about[1], about[2], about[3]) for path, about in facts_by_path(after).items()}
    assert said == dict(zip(photos, (both, both, none, none, none), strict=True))  # that of 1.jpg says nothing
    assert facts_by_path(after) == facts_by_path(storage.photos.facts_table())
    assert facts_by_path(before)["/a/2.jpg"][1] == 5.0
    assert storage.photos.last_sidecars(["/a"]) == {"/a": "1.jpg.xmp/301/7/1.xmp/300/7"}
    asked = ["/a/1.jpg.xmp", "/a/1.xmp", "/a/2.xmp", "/b/1.xmp"]
    assert storage.photos.facts_of_sidecars(asked) == {"/a/1.jpg.xmp": Facts(), "/a/1.xmp": STARS}


def test_a_table_made_from_an_earlier_one_is_as_a_new_one(storage: Storage) -> None:
    model = add_model(storage)
    known = storage.photos.facts_table()
    assert len(known) == 0
    letters = st.sampled_from("abc")
    facts = st.builds(
        Facts,
        camera=st.none() | letters,
        keywords=st.lists(letters, max_size=3, unique=True).map(tuple),
        rating=st.none() | st.just(3.0),
    )
    steps = st.lists(
        st.one_of(
            st.tuples(st.just("photo"), letters, letters, facts),
            st.tuples(st.just("sidecar"), letters, letters, st.none() | facts),
            st.tuples(st.just("gone"), letters, st.just(""), st.none()),
        ),
        max_size=8,
    )
    number = 0

    @settings(max_examples=15, deadline=None)
    @given(steps)
    def check(steps: list[tuple[str, str, str, Facts | None]]) -> None:
        nonlocal known, number
        for kind, folder, name, said in steps:
            number += 1
            if kind == "photo":
                outcome = with_facts(f"/{folder}/{name}.jpg", said or Facts())
                assert outcome.image is not None
                image = replace(outcome.image, digest=digest_of(f"{name}{number % 5}"))
                storage.photos.save([replace(outcome, image=image)], model.id)
            elif kind == "sidecar":
                storage.photos.save_sidecar_facts([(sidecar(f"/{folder}/{name}.xmp", mtime_ns=number), said)])
            else:
                storage.photos.mark_missing(f"/{folder}")
        known, made = storage.photos.facts_table(known), storage.photos.facts_table()
        assert facts_by_path(known) == facts_by_path(made)
        assert known.paths == made.paths == storage.reads.files().paths
        file = io.BytesIO()
        known.write(file)
        file.seek(0)
        read = FactsTable.read(file)
        assert read is not None
        assert (read.state, facts_by_path(read)) == (known.state, facts_by_path(known))

    check()


def test_what_a_sidecar_says_goes_with_its_folder(storage: Storage) -> None:
    model = add_model(storage)
    save(storage, model, "/a/1.jpg")
    storage.photos.save_sidecar_facts([(sidecar("/a/1.xmp"), STARS)])
    storage.photos.prune(under=["/a"])
    assert storage.photos.last_sidecars(["/a"]) == {}
    save(storage, model, "/a/1.jpg")
    assert facts_by_path(storage.photos.facts_table())["/a/1.jpg"][1:] == (None, (), None)


def test_facts_go_with_their_image(storage: Storage) -> None:
    model = add_model(storage)
    storage.photos.save([with_facts("/a/1", ALL_FACTS), with_facts("/b/2", ALL_FACTS)], model.id)
    one, two = (storage.photos.images_of([digest_of(path)])[digest_of(path)] for path in ("/a/1", "/b/2"))
    storage.photos.mark_missing("/a")
    storage.photos.prune()
    assert storage.photos.facts_of([one, two]) == {two: ALL_FACTS}
    upload = ImageRecord(digest_of("upload"), 4, 3, "PNG", VECTOR, facts=ALL_FACTS)
    storage.photos.save_images([upload], model.id)
    (ident,) = storage.photos.images_of([upload.digest]).values()
    assert ident in storage.photos.facts_of([ident])
    storage.photos.make_room(upload_bytes=0)
    assert storage.photos.facts_of([ident]) == {}


# --- of photos that were stored without them --------------------------------------------------------------------------


def test_images_without_facts_are_found_by_files_that_were_seen(storage: Storage) -> None:
    model = add_model(storage)
    save(storage, model, "/a/1", "/a/2", "/b/gone")
    storage.photos.save(
        [with_facts("/a/3", STARS), seen("/b/1", "/a/1", VECTOR), seen("/c/unseen", None, VECTOR, size=-1)], model.id
    )
    storage.photos.mark_missing("/b", ["gone"])
    storage.photos.save_images([ImageRecord(digest_of("upload"), 4, 3, "PNG", VECTOR)], model.id)
    assert storage.photos.count_without_facts() == 2
    first = storage.photos.without_facts(after=0, limit=1)
    assert [(file.path, file.size, file.mtime_ns) for file in first] == [("/a/1", 1, 1), ("/b/1", 1, 1)]
    (second,) = storage.photos.without_facts(after=first[0].image_id, limit=9)
    assert second.path == "/a/2"
    assert storage.photos.without_facts(after=second.image_id, limit=9) == []
    before = storage.reads.facts_state()
    storage.photos.save_facts({first[0].image_id: ALL_FACTS, second.image_id: Facts(), 999: STARS})
    assert storage.reads.facts_state() > before
    assert storage.photos.facts_of([first[0].image_id]) == {first[0].image_id: ALL_FACTS}
    assert storage.photos.count_without_facts() == 0
    assert storage.photos.without_facts(after=0, limit=9) == []
    assert [file.path for file in storage.photos.without_facts(after=0, limit=9, again=True)] == ["/a/2"]
    assert storage.photos.count_without_facts(again=True) == 1
    storage.photos.save_facts({second.image_id: STARS})
    assert storage.photos.count_without_facts(again=True) == 0
    assert storage.photos.facts_of([second.image_id])[second.image_id].rating == 5.0
