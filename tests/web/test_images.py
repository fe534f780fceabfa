"""``/v1/images/{id}``: what is known of a photo, its thumbnail, its bytes; and nothing by a path."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests import photos
from tests.scenes import photo
from tests.web.conftest import Serve
from zsindex.library import Library
from zsindex.photos import thumbnails
from zsindex.photos.sandbox import Here
from zsindex.photos.thumbnails import Thumbnails


def id_of(library: Library, path: Path) -> int:
    view = library.view()
    return int(view.image_ids[view.index_of[str(path)]])


def test_what_is_known(client: TestClient, library: Library, album: Path) -> None:
    image_id = id_of(library, album / "red.png")
    body = client.get(f"/v1/images/{image_id}").json()
    assert body["paths"] == [str(album / "red.png"), str(album / "sea" / "red again.png")]
    assert (body["width"], body["height"], body["format"]) == (16, 12, "PNG")
    missing = client.get("/v1/images/4711")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:zsindex:problem:unknown-image")


def test_facts_of_its_files_and_place_only_where_it_is_asked_for_and_allowed(
    library: Library, album: Path, serve: Serve
) -> None:
    block = Image.Exif()
    block[0x0110] = "One"
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "E", 4: (9.0, 0.0, 0.0)})
    one, two = photos.jpeg(album / "IMG_20190714_153012.jpg", exif=block), album / "two.jpg"
    two.write_bytes(one.read_bytes())
    packet = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    packet += ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF>'
    (album / "two.xmp").write_text(packet, encoding="utf-8")
    library.sync()
    url, client = f"/v1/images/{id_of(library, one)}/facts", serve(library)
    first, second = client.get(url).json()["files"]
    assert (first["path"], second["path"]) == (str(one), str(two))
    assert first["taken"] == {"at": "2019-07-14T15:30:12", "offset_s": None, "source": "name"}
    assert (first["camera"], first["rating"], second["rating"], second["taken"]["source"]) == ("One", None, 4, "file")
    assert "place" not in first
    refused = client.get(url, params={"place": True})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:zsindex:problem:places-off")
    allowed = serve(library, security={"places": True})
    assert "place" not in allowed.get(url).json()["files"][0]
    place = {"latitude": 48.5, "longitude": 9.0, "altitude_m": None}
    assert [file["place"] for file in allowed.get(url, params={"place": True}).json()["files"]] == [place, place]
    assert client.get("/v1/images/4711/facts").status_code == 404


def test_a_thumbnail_is_small_upright_and_without_metadata(client: TestClient, library: Library, album: Path) -> None:
    upright = photos.gradient(400, 300)
    file = photos.oriented(album / "turned.jpg", 6, upright)
    library.sync()
    response = client.get(f"/v1/images/{id_of(library, file)}/thumbnail", params={"size": "128"})
    assert response.headers["content-type"] == "image/jpeg"
    image = Image.open(io.BytesIO(response.content))
    assert image.size == (128, 96)
    assert not image.getexif()
    assert image.getpixel((120, 5))[0] > 200  # red grows to the right: it was turned
    assert image.getpixel((5, 5))[0] < 60


def test_a_thumbnail_is_made_once_and_kept_by_the_browser(
    client: TestClient, library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    render = thumbnails.render
    monkeypatch.setattr(thumbnails, "render", lambda *a, **o: (made.append(1), render(*a, **o))[1])
    url = f"/v1/images/{id_of(library, album / 'white.png')}/thumbnail"
    first = client.get(url)
    assert "immutable" in first.headers["cache-control"]
    assert client.get(url).content == first.content
    (album / "white.png").unlink()
    assert client.get(url).content == first.content
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert made == [1]
    assert client.get(url, params={"size": "4000"}).status_code == 422
    assert client.get(url, params={"size": "512"}).status_code == 404  # its file is gone


def test_the_cache_keeps_within_its_limit_and_drops_the_oldest(tmp_path: Path) -> None:
    cache = Thumbnails(tmp_path, max_bytes=100)
    for name in ("aa1.jpg", "bb2.jpg", "cc3.jpg"):
        cache.add(name, b"x" * 8)
        if name == "bb2.jpg":
            assert cache.get("aa1.jpg") == b"x" * 8  # now the other one is the oldest
    assert cache.bytes == 80 == sum(file.stat().st_size for file in tmp_path.rglob("*.jpg"))
    assert cache.get("bb2.jpg") is None
    later = Thumbnails(tmp_path, max_bytes=100)
    os.utime(tmp_path / "aa" / "aa1.jpg", (1, 1))
    later.add("dd4.jpg", b"x" * 8)
    assert later.get("aa1.jpg") is None
    assert later.get("cc3.jpg") is not None
    later.add("ee5.jpg", b"x" * 1000)  # too large for all: it alone is kept
    assert [file.name for file in tmp_path.rglob("*.jpg")] == ["ee5.jpg"]


@pytest.mark.parametrize("stored", [b"", b"\0" * 40, b"cut"], ids=["empty", "zeros", "cut"])
def test_what_a_power_cut_leaves_of_a_thumbnail_is_made_again(
    client: TestClient, library: Library, album: Path, stored: bytes
) -> None:
    """Browsers keep what they get for good, so it must be the picture."""
    url = f"/v1/images/{id_of(library, album / 'white.png')}/thumbnail"
    first = client.get(url)
    (file,) = (album.parent / "thumbnails").rglob("*.jpg")
    whole = file.read_bytes()
    file.write_bytes(whole[:-5] if stored == b"cut" else stored)
    assert client.get(url).content == first.content
    assert file.read_bytes() == whole


def test_what_kills_have_left_in_the_cache_goes(tmp_path: Path) -> None:
    Thumbnails(tmp_path, max_bytes=100).add("aa1.jpg", b"x")
    old, young = (tmp_path / "aa" / f"aa{n}.jpg.1.2.tmp" for n in (2, 3))
    for file in (old, young):
        file.touch()
    os.utime(old, (1, 1))
    Thumbnails(tmp_path, max_bytes=100).add("bb1.jpg", b"x")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_disk_that_cannot_be_written_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    cache = Thumbnails(tmp_path / "file", max_bytes=100)
    cache.add("aa1.jpg", b"x")
    assert cache.get("aa1.jpg") is None


def test_see_through_pixels_become_white() -> None:
    data = photos.encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "PNG")
    small = Image.open(io.BytesIO(thumbnails.render(data, 64, name="x.png", decoder=Here(10**6))))
    assert small.getpixel((20, 20)) == (255, 255, 255)


def test_the_file_is_given_out_as_it_is(client: TestClient, library: Library, album: Path) -> None:
    file = album / "sea" / "blue.png"
    response = client.get(f"/v1/images/{id_of(library, file)}/file")
    assert response.content == file.read_bytes()
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert response.headers["content-disposition"] == "inline; filename*=UTF-8''blue.png"


def test_a_file_that_was_exchanged_is_not_given_out(client: TestClient, library: Library, album: Path) -> None:
    file = album / "sea" / "blue.png"
    secret = album.parent / "secret"
    secret.write_text("password", encoding="utf-8")
    image_id = id_of(library, file)
    file.unlink()
    file.symlink_to(secret)
    for what in ("file", "thumbnail"):
        response = client.get(f"/v1/images/{image_id}/{what}")
        assert response.status_code == 404
        assert str(album) not in response.text
    file.unlink()
    photo(file, "white", mark=9)
    assert client.get(f"/v1/images/{image_id}/file").status_code == 404


def test_of_several_files_one_that_is_there_will_do(client: TestClient, library: Library, album: Path) -> None:
    image_id, content = id_of(library, album / "red.png"), (album / "red.png").read_bytes()
    (album / "red.png").write_bytes(b"overwritten")
    assert client.get(f"/v1/images/{image_id}/file").content == content


def test_reading_needs_no_writing(serve: Serve, library: Library, album: Path) -> None:
    image_id = id_of(library, album / "red.png")
    with Library.open(library.path, read_only=True) as closed:
        client = serve(closed)
        for what in ("", "/file", "/thumbnail", "/similar"):
            assert client.get(f"/v1/images/{image_id}{what}").status_code == 200


def test_a_cache_that_cannot_be_listed_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Thumbnails(tmp_path / "cache", max_bytes=2000)

    def refuse(*_: object) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "glob", refuse)
        kept.add("00a.jpg", b"a" * 900)
    for name in ("11b.jpg", "22c.jpg"):
        kept.add(name, b"b" * 900)
    assert len(list((tmp_path / "cache").rglob("*.jpg"))) == 2  # the first one was found, and went
    assert kept.get("22c.jpg") == b"b" * 900
