"""What XMP says, in a photo or beside it: read only. `zsindex.exchange.xmp` is what changes sidecars.

Packets were written by others. One that has a document type is refused before any of that is read, so that there are no
entities to expand, and nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

# Packets in photos are a few KB; sidecars with masks or histories some hundred.
MAX_BYTES = 1 << 22

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/lightroom/1.0/": "lr",
    "http://www.digikam.org/ns/1.0/": "digiKam",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://cipa.jp/exif/1.0/exifEX": "exifEX",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
}
_BEGIN = re.compile(rb"<(?:x:x[am]pmeta|rdf:RDF)\b")


class NotXmp(Exception):
    """It is no XMP, or not as XMP must be."""


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise NotXmp("it has a document type, which XMP never has")


def properties(data: bytes) -> dict[str, list[str]]:
    """The texts of a packet's properties, such as ``dc:subject``, of the namespaces that photos use. Structures are
    left out.

    Of texts in several languages the default comes first.

    Raises:
        NotXmp
    """
    if len(data) > MAX_BYTES:
        raise NotXmp(f"it is larger than {MAX_BYTES >> 20} MB")
    found: dict[str, list[str]] = {}
    root = _parsed(data)
    for rdf in [root] if root.tag == f"{_RDF}RDF" else root.findall(f"{_RDF}RDF"):
        for description in rdf.findall(f"{_RDF}Description"):
            for attribute, text in description.attrib.items():
                if name := _name(attribute):
                    found.setdefault(name, []).append(text)
            for child in description:
                if name := _name(child.tag):
                    found.setdefault(name, []).extend(_texts(child))
    return found


def _parsed(data: bytes) -> ElementTree.Element:
    try:
        return _parsed_as_is(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        # Zeros and other padding stand around many; some have letters in another encoding than they say.
        begin = _BEGIN.search(data)
        if begin is None:
            raise NotXmp(f"it is not well-formed ({error})") from error
        text = data[begin.start() : data.rfind(b">") + 1].decode("utf-8", "replace").encode()
    try:
        return _parsed_as_is(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise NotXmp(f"it is not well-formed ({error})") from error


def _parsed_as_is(data: bytes) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_Builder())
    parser.feed(data)
    root = parser.close()
    assert isinstance(root, ElementTree.Element)
    return root


def _name(tag: str) -> str:
    """``dc:subject`` for ``{http://purl.org/dc/elements/1.1/}subject``; empty in other namespaces."""
    space, _, local = tag[1:].partition("}") if tag.startswith("{") else ("", "", "")
    prefix = _PREFIXES.get(space)
    return f"{prefix}:{local}" if prefix else ""


def _texts(element: ElementTree.Element) -> Iterator[str]:
    """What a property's element says: its text, or the items of its list."""
    lists = [child for child in element if child.tag in (f"{_RDF}Bag", f"{_RDF}Seq", f"{_RDF}Alt")]
    if not len(element):
        text = element.get(f"{_RDF}resource") or element.text
        if text and text.strip():
            yield text.strip()
    elif lists:
        items = lists[0].findall(f"{_RDF}li")
        items.sort(key=lambda item: item.get(_LANGUAGE) not in (None, "x-default"))
        for item in items:
            if text := "".join(item.itertext()).strip():
                yield text
