"""What is done with photos that were chosen one by one: taken along, tagged, put into albums; and what was said of
them, listed and taken back.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

from tests.web.conftest import READ, TOKENS, Serve
from zsindex.exchange import archives, xmp
from zsindex.exchange.archives import Entry
from zsindex.library import Library

GONE = "0" * 64


def ids(library: Library) -> dict[str, int]:
    """Of photos by the names of their files."""
    return {Path(path).stem: photo.image_id for photo in library.photos.page().photos for path in (photo.path,)}


def test_an_archive_has_the_files_as_they_are_and_says_what_is_missing(
    serve: Serve, library: Library, album: Path
) -> None:
    known = ids(library)
    (album / "white.png").write_bytes(b"another")
    (album / "sea" / "green.png").unlink()
    body = {"image_ids": [known["blue"], known["white"], known["red"], known["green"]], "format": "zip"}
    answer = serve(library).post("/v1/images/export", json=body)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        assert found.namelist() == ["blue.png", "red.png", archives.MISSING]
        assert found.read("red.png") == (album / "red.png").read_bytes()
        missing = found.read(archives.MISSING).decode().splitlines()
    assert [line.partition(":")[0] for line in missing] == [
        str(album / "white.png"),
        str(album / "sea" / "green.png"),
    ]


def test_names_in_an_archive_are_unique_and_lead_nowhere() -> None:
    paths = ["/a/x.jpg", "/b/X.jpg", "/b/x.jpg", f"/c/{archives.MISSING}", "/c/..\\up.jpg", "/c/a\nb\udcff.jpg"]
    data = b"".join(archives.zipped(Entry(path, path.encode("utf-8", "replace")) for path in paths))
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        names = found.namelist()
        assert found.read("x-3.jpg") == b"/b/x.jpg"
        assert {one.date_time for one in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names == [
        "x.jpg",
        "X-2.jpg",
        "x-3.jpg",
        "not in this archive-2.txt",
        "_up.jpg",
        "a_b?.jpg".replace("?", "_"),
    ]


def test_an_archive_is_sent_while_it_is_made() -> None:
    read: list[int] = []

    def entries() -> list[Entry]:  # as a generator, so that it is seen how far it went
        for n in range(3):
            read.append(n)
            yield Entry(f"/{n}.jpg", bytes(3 * archives.PIECE_BYTES))

    pieces = archives.zipped(entries())
    first = [next(pieces) for _ in range(4)]
    assert read == [0]
    assert max(map(len, first)) <= archives.PIECE_BYTES
    assert sum(map(len, first)) + sum(map(len, pieces)) > 9 * archives.PIECE_BYTES


def test_archives_have_limits(serve: Serve, library: Library) -> None:
    every = {"image_ids": list(ids(library).values()), "format": "zip"}
    for limits in ({"archive_photos": 3}, {"archive_bytes": 100}):
        refused = serve(library, limits=limits).post("/v1/images/export", json=every)
        assert (refused.status_code, refused.json()["type"]) == (413, "urn:zsindex:problem:too-much")
    refused = serve(library, limits={"chosen": 3}).post("/v1/images/export", json=every)
    assert refused.status_code == 422


def test_few_archives_are_made_at_a_time_and_each_gives_its_place_back(serve: Serve, library: Library) -> None:
    client = serve(library, limits={"archives": 1})
    body = {"image_ids": list(ids(library).values()), "format": "zip"}
    place = client.app.state.service.archives  # type: ignore[attr-defined]
    assert place.acquire(blocking=False)
    assert client.post("/v1/images/export", json=body).status_code == 429
    place.release()
    assert [client.post("/v1/images/export", json=body).status_code for _ in range(2)] == [200, 200]


def test_a_list_of_paths_and_a_table_keep_the_order(serve: Serve, library: Library, album: Path) -> None:
    client, known = serve(library), ids(library)
    chosen = [known["red"], known["blue"], 999]
    lines = client.post("/v1/images/export", json={"image_ids": chosen, "format": "paths"}).text.splitlines()
    assert lines == [str(album / "red.png"), str(album / "sea" / "blue.png")]
    table = client.post("/v1/images/export", json={"image_ids": chosen}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["path"] for row in rows] == [*lines, ""]
    assert rows[0]["digest"] == library.photos.get(known["red"]).digest
    assert (rows[0]["image_id"], rows[2]["image_id"]) == (str(known["red"]), "999")
    assert int(rows[0]["width"]) > 0
    assert rows[2]["digest"] == rows[2]["width"] == ""


def test_a_table_has_the_scores_of_an_answer(serve: Serve, library: Library) -> None:
    client, known = serve(library), ids(library)
    key = client.post("/v1/groups", json={"labels": ["red", "blue"]}).json()["key"]
    body = {"image_ids": [known["blue"], 999, known["red"]], "key": key}
    rows = list(csv.DictReader(io.StringIO(client.post("/v1/images/export", json=body).text)))
    assert [row["label"] for row in rows] == ["blue", "", "red"]
    for row in (rows[0], rows[2]):
        scores = [float(row["red"]), float(row["blue"])]
        assert float(row["score"]) == max(scores)
        assert abs(float(row["margin"]) - abs(scores[0] - scores[1])) < 1e-6
    assert rows[1]["score"] == rows[1]["red"] == ""
    assert client.post("/v1/images/export", json={**body, "format": "zip"}).status_code == 422


def test_a_keyword_is_written_by_whoever_may(serve: Serve, library: Library, album: Path) -> None:
    known = ids(library)
    body = {"image_ids": [known["red"], known["blue"]], "keyword": " Trips | sea side "}
    reader = serve(library, security={"tokens": TOKENS}, token=READ)
    assert reader.post("/v1/images/tags", json={**body, "apply": True}).status_code == 403
    preview = reader.post("/v1/images/tags", json=body).json()
    assert (preview["applied"], preview["create"]) == (False, 3)  # one of the photos has a copy
    assert not list(album.rglob("*.xmp"))
    client = serve(library)
    assert client.post("/v1/images/tags", json={**body, "apply": True}).json()["create"] == 3
    more = {"image_ids": [known["white"]], "keyword": "Trips|sea side", "apply": True}
    assert client.post("/v1/images/tags", json=more).json()["create"] == 1
    sidecar = (album / "red.png.xmp").read_text(encoding="utf-8")
    assert "sea side" in sidecar
    assert "Trips|sea side" in sidecar
    assert xmp.HIERARCHY in sidecar or "hierarchicalSubject" in sidecar
    gone = client.post("/v1/tags/retract", json={"label_set": "keyword:Trips|sea side", "apply": True}).json()
    assert gone["delete"] == 4
    assert not list(album.rglob("*.xmp"))
    assert client.post("/v1/images/tags", json={**body, "keyword": "|"}).status_code == 422


def test_an_album_of_chosen_photos_is_added_to_and_taken_from(serve: Serve, library: Library, album: Path) -> None:
    client, known = serve(library), ids(library)
    first = client.post("/v1/albums/best/photos", json={"image_ids": [known["red"], known["blue"]]}).json()
    assert (first["name"], first["chosen"], first["query"]) == ("best", 2, None)
    client.post("/v1/albums/best/seen")
    again = client.post("/v1/albums/best/photos", json={"image_ids": [known["red"], known["green"]]}).json()
    assert again["chosen"] == 3
    # One that was moved is the same photo.
    (album / "red.png").rename(album / "moved.png")
    (album / "sea" / "red again.png").unlink()
    library.sync(album)
    page = client.get("/v1/albums/best/photos").json()
    assert {photo["image_id"] for photo in page["photos"]} == {known["red"], known["blue"], known["green"]}
    assert str(album / "moved.png") in {photo["path"] for photo in page["photos"]}
    out = client.post("/v1/albums/best/photos/remove", json={"image_ids": [known["red"]]}).json()
    assert (out["chosen"], out["taken_out"]) == (2, [known["red"]])
    again = client.post("/v1/albums/best/photos/remove", json={"image_ids": [known["red"], known["blue"]]}).json()
    assert (again["chosen"], again["taken_out"]) == (1, [known["blue"]])
    client.post("/v1/albums/best/photos", json={"image_ids": [known["blue"]]})
    client.put("/v1/albums/sea", json={"query": "sea"})
    for path in ("/v1/albums/sea/photos", "/v1/albums/sea/photos/remove"):
        assert client.post(path, json={"image_ids": [known["red"]]}).status_code == 422
    assert client.post("/v1/albums/none/photos/remove", json={"image_ids": [known["red"]]}).status_code == 404
    assert [one["chosen"] for one in client.get("/v1/albums").json()] == [2, None]


def test_corrections_say_when_and_are_taken_back_in_one_step(serve: Serve, library: Library, album: Path) -> None:
    client, known = serve(library), ids(library)
    library.labels.save("colours", ["red", "blue", "green"])
    said = [{"image_id": known[name], "label": name} for name in ("red", "blue", "green")]
    client.post("/v1/corrections/bulk", json={"label_set": "colours", "corrections": said})
    (album / "sea" / "green.png").unlink()
    library.sync(album)
    found = client.get("/v1/corrections?label_set=colours").json()
    by_label = {one["label"]: one for one in found}
    assert by_label["red"]["image_id"] == known["red"]
    assert by_label["green"]["paths"] == []
    assert all(one["said_at"][:2] == "20" for one in found)
    digests = [by_label["green"]["digest"], by_label["red"]["digest"], GONE]
    body = {"label_set": "colours", "digests": digests}
    assert client.post("/v1/corrections/forget", json=body).json() == {"statements": 2, "corrections": 1}
    assert client.post("/v1/corrections/undo?label_set=colours").json() == {"corrections": 3}
    assert client.post("/v1/corrections/forget", json={**body, "digests": ["x"]}).status_code == 422


def test_an_older_version_of_a_label_set_is_restored_to_the_prompt(serve: Serve, library: Library) -> None:
    client = serve(library)
    first = {"labels": {"red": ["a {} red thing"], "blue": []}, "templates": ["a photo of {}"], "literal": True}
    client.put("/v1/label-sets/colours", json=first)
    client.put("/v1/label-sets/colours", json={"labels": ["red"]})
    older = client.get("/v1/label-sets/colours@1").json()
    restored = client.post("/v1/label-sets/colours", json={"version": 1}).json()
    assert restored["version"] == 3
    assert {**restored, "version": 1} == {name: older[name] for name in restored}
    assert client.post("/v1/label-sets/colours", json={"version": 3}).json()["version"] == 3
    assert client.post("/v1/label-sets/colours", json={"version": 9}).status_code == 404
