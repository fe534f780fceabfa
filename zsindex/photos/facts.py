"""What a photo says of itself: when, where and with what it was taken, and what people have written into it.

Facts are read from a photo's headers, and never fail it: what cannot be read, or cannot be true, is missing. Those of
the content are an image's, those of the sidecar and of the name a file's; `zsindex.photos.together` makes one of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from PIL import ExifTags, ImageFile, IptcImagePlugin

from zsindex.photos import containers, dates, decode, exif, packets
from zsindex.photos.codec_errors import pillow_limit
from zsindex.photos.containers import Kind
from zsindex.photos.formats import RAW_EXTENSIONS, extension
from zsindex.photos.quiet import quiet
from zsindex.photos.together import clean, filled, kept_keywords
from zsindex.records import Facts, Place, Taken, TakenFrom

# What is kept, in letters: of a name, and of a caption.
MOST_NAME = 200
MOST_CAPTION = 5_000

_SIDEWAYS = (5, 6, 7, 8)
# What cameras write where people write captions.
_NO_CAPTION = re.compile(
    r"(olympus|konica minolta|minolta|kodak|samsung|sony|vivitar|digital|jenoptik)?[\s_]*"
    r"(digital[\s_]*(still[\s_]*)?camera|camera pictures|dsc|dcf|picture|image)[\s_]*\d*",
    re.IGNORECASE,
)
_IPTC_CHARSET, _IPTC_KEYWORDS, _IPTC_CAPTION = (1, 90), (2, 25), (2, 120)
_IPTC_IS_UTF8 = b"\x1b%G"
_EXIF_MARK = b"Exif\0\0"


# --- of the content ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Where a photo may say something.

    Attributes:
        xmp: a packet.
        iptc: records by their numbers, each once or more often.
    """

    exif: exif.Directories
    xmp: bytes = b""
    iptc: Mapping[tuple[int, int], bytes | list[bytes]] | None = None


def read(data: bytes, name: str = "") -> Facts:
    """Read the facts of a photo from its bytes. Nothing is decoded, and nothing raises.

    Args:
        data: the file's bytes; of a JPEG, those before its first scan do.
        name: file name or path. Its extension only counts where the content leaves open whether it is camera RAW; dates
            in it are for `zsindex.photos.together`.
    """
    with quiet(), suppress(Exception):  # from damaged files, codecs raise whatever comes up
        kind = containers.kind_of(data)
        if kind is Kind.RAW or (kind is not Kind.PICTURE and extension(name) in RAW_EXTENSIONS):
            return _said(_raw_blocks(data), Facts(format="RAW"))
        with pillow_limit.at_least(1 << 62):  # its pixels are not looked at
            image = decode.open_header(data)
            shape = _shape(image, data)
        return _said(_blocks(image, data), shape)
    return Facts()


def _shape(image: ImageFile.ImageFile, data: bytes) -> Facts:
    if image.format == "PNG":  # Pillow would decode the picture to look for what stands behind it
        block, packet = containers.png_metadata(data)
        image.info["exif"] = block
        if packet:
            image.info["xmp"] = packet
    orientation = None
    with suppress(Exception):  # as where it is decoded
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    width, height = image.size
    if orientation in _SIDEWAYS and image.format != "TIFF":  # of which Pillow has said the upright size
        width, height = height, width
    # pillow-heif has turned it already, and says what it was.
    orientation = image.info.get("original_orientation") or orientation
    animated = False
    with suppress(Exception):
        animated = bool(getattr(image, "is_animated", False)) and image.format not in ("TIFF", "MPO", "HEIF")
    return Facts(
        width=width,
        height=height,
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else None,
        format=image.format or "",
        animated=animated,
    )


def _blocks(image: ImageFile.ImageFile, data: bytes) -> _Blocks:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "surrogatepass")
    block = data if image.format == "TIFF" else image.info.get("exif") or b""
    iptc = None
    with suppress(Exception):
        iptc = IptcImagePlugin.getiptcinfo(image)
    return _Blocks(exif.Directories(_without_mark(block)), packet if isinstance(packet, bytes) else b"", iptc)


def _without_mark(block: bytes) -> bytes:
    while block.startswith(_EXIF_MARK):
        block = block[len(_EXIF_MARK) :]
    return block


def _raw_blocks(data: bytes) -> _Blocks:
    if data.startswith(b"FUJIFILMCCD-RAW"):
        start, length = struct.unpack_from(">II", data, 84)
        return _blocks(decode.open_header(data[start : start + length]), b"")
    if data.startswith(b"ftypcrx ", 4):
        blocks = containers.cr3_metadata(data)
        parts = (blocks.get(name, b"") for name in ("CMT1", "CMT2", "CMT4"))
        return _Blocks(exif.Directories(*parts), blocks.get("xmp", b""))
    if data.startswith(b"\0MRM"):
        return _Blocks(exif.Directories(containers.mrw_metadata(data)))
    found = exif.Directories(data)
    return _Blocks(found, found.main.packet())


def _said(blocks: _Blocks, shape: Facts) -> Facts:
    """The shape with what the blocks say."""
    if blocks.exif.is_empty and not blocks.xmp and not blocks.iptc:
        return shape
    of_exif, of_xmp = _of_exif(blocks.exif), Facts()
    if blocks.xmp:
        with suppress(Exception):
            of_xmp = of_packet(blocks.xmp)
    keywords, caption = _of_iptc(blocks.iptc or {})
    said = replace(
        filled(filled(shape, of_exif), of_xmp),
        # People write captions and ratings into XMP now; what else has them is older.
        caption=of_xmp.caption or caption or of_exif.caption,
        rating=of_xmp.rating if of_xmp.rating is not None else of_exif.rating,
        keywords=kept_keywords([*of_xmp.keywords, *keywords, *of_exif.keywords]),
    )
    if said.taken is None and (digitized := exif.digitized(blocks.exif)) is not None:
        said = replace(said, taken=Taken(*digitized, TakenFrom.EXIF))
    return said


def _of_exif(found: exif.Directories) -> Facts:
    base = ExifTags.Base
    orientation = exif.within(found.main.number(int(base.Orientation)), 1, 8)
    at, place = exif.taken(found), exif.place(found)
    captions = found.main.text(int(base.ImageDescription)), found.main.wide_text(int(base.XPComment))
    return Facts(
        taken=None if at is None else Taken(*at, TakenFrom.EXIF),
        make=_name(found.main.text(int(base.Make))),
        camera=_name(found.main.text(int(base.Model))),
        lens=_name(found.exif.text(int(base.LensModel))),
        focal_length_mm=exif.within(found.exif.number(int(base.FocalLength)), 0.01, 1e5),
        aperture=exif.aperture(found),
        exposure_s=exif.exposure_s(found),
        iso=exif.iso(found),
        place=None if place is None else Place(*place),
        orientation=None if orientation is None else int(orientation),
        rating=exif.within(found.main.number(int(base.Rating)), 1, 5),
        keywords=kept_keywords(found.main.wide_text(int(base.XPKeywords)).split(";")),
        caption=next(filter(None, map(_caption, captions)), None),
    )


def _of_iptc(records: Mapping[tuple[int, int], bytes | list[bytes]]) -> tuple[list[str], str | None]:
    """Keywords, and the caption."""

    def texts(number: tuple[int, int]) -> list[str]:
        values = records.get(number) or []
        return [_iptc_text(value, is_utf8) for value in (values if isinstance(values, list) else [values]) if value]

    is_utf8 = records.get(_IPTC_CHARSET) == _IPTC_IS_UTF8
    return texts(_IPTC_KEYWORDS), _caption(next(iter(texts(_IPTC_CAPTION)), ""))


def _iptc_text(value: bytes, is_utf8: bool) -> str:
    return value.decode("utf-8", "replace") if is_utf8 else exif.decoded(value)


# --- XMP, in a photo or beside it -------------------------------------------------------------------------------------

_COORDINATE = re.compile(
    r"\s*(\d{1,3}(?:\.\d+)?)(?:[,;]\s*(\d{1,2}(?:\.\d+)?))?(?:[,;]\s*(\d{1,2}(?:\.\d+)?))?\s*([NSEWnsew])\s*", re.ASCII
)
_SIGNED = re.compile(r"\s*[+-]?\d{1,3}(?:\.\d+)?\s*", re.ASCII)
_FRACTION = re.compile(r"\s*([+-]?\d{1,20}(?:\.\d{1,20})?)(?:\s*/\s*(\d{1,20}(?:\.\d{1,20})?))?\s*", re.ASCII)


def of_packet(packet: bytes) -> Facts:
    """What a packet of XMP says.

    Raises:
        zsindex.photos.packets.NotXmp
    """
    said = packets.properties(packet)

    def text(*names: str) -> str:
        return next((said[name][0] for name in names if said.get(name)), "")

    def number(name: str, least: float, most: float) -> float | None:
        return exif.within(_number(text(name)), least, most)

    at = None
    for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"):
        at = at or dates.written(text(name))
    below = text("exif:GPSAltitudeRef") == "1"
    altitude = _number(text("exif:GPSAltitude"))
    place = exif.checked_place(
        _coordinate(text("exif:GPSLatitude"), "NS"),
        _coordinate(text("exif:GPSLongitude"), "EW"),
        -altitude if below and altitude is not None else altitude,
    )
    orientation = number("tiff:Orientation", 1, 8)
    iso = number("exifEX:PhotographicSensitivity", 1, 1e8) or number("exif:ISOSpeedRatings", 1, 1e8)
    keywords = [*said.get("dc:subject", ()), *said.get("lr:hierarchicalSubject", ())]
    keywords += [path.replace("/", "|") for path in said.get("digiKam:TagsList", ())]
    return Facts(
        taken=None if at is None else Taken(*at, TakenFrom.XMP),
        make=_name(text("tiff:Make")),
        camera=_name(text("tiff:Model")),
        lens=_name(text("exifEX:LensModel", "aux:Lens")),
        focal_length_mm=number("exif:FocalLength", 0.01, 1e5),
        aperture=number("exif:FNumber", 0.1, 1000.0),
        exposure_s=number("exif:ExposureTime", 1e-9, 1e7),
        iso=None if iso is None else int(iso),
        place=None if place is None else Place(*place),
        orientation=None if orientation is None else int(orientation),
        rating=number("xmp:Rating", -1, 5) or None,
        keywords=kept_keywords(keywords),
        caption=_caption(text("dc:description")),
    )


def _number(text: str) -> float | None:
    """A number or a fraction, as ``28/10``."""
    found = _FRACTION.fullmatch(text)
    if found is None:
        return None
    below = float(found[2] or 1)
    return float(found[1]) / below if below else None


def _coordinate(text: str, hemispheres: str) -> float | None:
    """``45,30.04N``, ``45,30,2.4N``, or degrees with their sign."""
    if (found := _COORDINATE.fullmatch(text)) and found[4].upper() in hemispheres:
        parts = [float(part) for part in found.groups()[:3] if part]
        degrees = exif.degrees_of(parts)
        return -degrees if found[4].upper() == hemispheres[1] else degrees
    return float(text) if _SIGNED.fullmatch(text) else None


# --- texts ------------------------------------------------------------------------------------------------------------


def _name(text: str) -> str | None:
    return clean(text, MOST_NAME) or None


def _caption(text: str) -> str | None:
    if _NO_CAPTION.fullmatch(text):
        return None
    lines = (clean(line, MOST_CAPTION) for line in text[: 2 * MOST_CAPTION].splitlines())
    return "\n".join(lines).strip()[:MOST_CAPTION] or None
