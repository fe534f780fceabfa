"""XMP sidecars: lists of texts are added to them and taken from them; all else in them stays. Bytes in, bytes out.

The only importer of lxml. What a sidecar holds was written by others: it is parsed without entities, without a DTD and
without the network, and one that has a document type is refused before any of that is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.parsers import expat

from lxml import etree

# Texts by property.
Tags: TypeAlias = "Mapping[str, Sequence[str]]"

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
}
# The properties, and which kind of list each is where there is none yet.
SUBJECT, HIERARCHY, TAGS_LIST = "dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"
KINDS = {SUBJECT: "Bag", HIERARCHY: "Bag", TAGS_LIST: "Seq"}
DESCRIPTION = "rdf:Description"
# Sidecars are a few KB; those with masks or histories some hundred.
MAX_BYTES = 2**24

_EMPTY = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="zsindex">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
""".encode()


_MOST_QUOTED = 200


class BadPacket(Exception):
    """A file that zsindex does not touch: it is no XMP, or not as XMP must be. It becomes a line of the report."""


@dataclass(frozen=True, slots=True)
class Added:
    """A packet that texts were added to.

    Attributes:
        data: the file.
        added: what was not there before.
        made: properties, or `DESCRIPTION`, that had to be made for it.
    """

    data: bytes
    added: dict[str, list[str]]
    made: tuple[str, ...]


def add(data: bytes | None, tags: Tags) -> Added:
    """Add texts to lists, each unless it is there.

    Args:
        data: the file; None makes a new one.

    Raises:
        BadPacket
    """
    packet = _Packet(_EMPTY if data is None else data)
    added: dict[str, list[str]] = {}
    made: list[str] = []
    for name, texts in tags.items():
        found = packet.find(name)
        there = set() if found is None else set(_texts(found))
        missing = [text for text in dict.fromkeys(texts) if text not in there]
        if not missing:
            continue
        if found is None:
            if packet.description() is None:
                packet.make_description()
                made.append(DESCRIPTION)
            found = packet.make(name)
            made.append(name)
        for text in missing:
            item = etree.Element(_rdf("li"))
            item.text = text
            _append(found, item, _indent(found) + " ")
        added[name] = missing
    if not added:
        return Added(packet.data, {}, ())
    return Added(packet.to_bytes(), added, tuple(made))


def remove(data: bytes, tags: Tags, made: Sequence[str] = ()) -> tuple[bytes, bool]:
    """Take texts from lists, each once, and what was made for them if it is empty then.

    Returns:
        The file, and whether nothing is left in it.

    Raises:
        BadPacket
    """
    packet = _Packet(data)
    changed = False
    for name, texts in tags.items():
        found = packet.find(name)
        if found is None:
            continue
        for text in texts:
            item = next((item for item in found.iterchildren(_rdf("li")) if _text(item) == text), None)
            if item is not None:
                _drop(item)
                changed = True
        if name in made and not len(found):
            _drop(found.getparent())
            changed = True
    if DESCRIPTION in made:
        for description in packet.descriptions():
            if _is_bare(description):
                _drop(description)
                changed = True
                break
    return packet.to_bytes() if changed else data, packet.is_empty()


def texts_in(data: bytes) -> dict[str, list[str]]:
    """The texts of the lists that `KINDS` names.

    Raises:
        BadPacket
    """
    packet = _Packet(data)
    found = {name: packet.find(name) for name in KINDS}
    return {name: [] if array is None else list(_texts(array)) for name, array in found.items()}


class _Packet:
    """A parsed file."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise BadPacket(f"it is larger than {MAX_BYTES >> 20} MB")
        self.place = _place(data)
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False
        )
        try:
            root = etree.fromstring(data, parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            raise BadPacket(f"it is not well-formed ({_first_line(error)})") from error
        top = [root] if root.tag == _rdf("RDF") else root.findall(_rdf("RDF"))
        if len(top) != 1:
            raise BadPacket("it is XML, but not XMP")
        self.data = data
        self.root = root
        self.rdf = top[0]

    def descriptions(self) -> list[etree._Element]:
        return list(self.rdf.findall(_rdf("Description")))

    def description(self) -> etree._Element | None:
        """The one that new properties go into."""
        return self.rdf.find(_rdf("Description"))

    def make_description(self) -> None:
        description = etree.Element(_rdf("Description"), {_rdf("about"): ""}, nsmap={"rdf": RDF})
        _append(self.rdf, description, _indent(self.rdf) + " ")

    def find(self, name: str) -> etree._Element | None:
        """The list of a property; None where there is none."""
        found: list[etree._Element] = []
        for description in self.descriptions():
            if description.get(_qualified(name)) is not None:
                raise BadPacket(f"its {name} is not a list")
            found += description.findall(_qualified(name))
        if not found:
            return None
        if len(found) > 1:
            raise BadPacket(f"it has more than one {name}")
        arrays = [child for child in found[0] if isinstance(child.tag, str)]
        if len(arrays) != 1 or arrays[0].tag not in (_rdf("Bag"), _rdf("Seq")):
            raise BadPacket(f"its {name} is not a list")
        return arrays[0]

    def make(self, name: str) -> etree._Element:
        """An empty list."""
        description = self.description()
        assert description is not None
        prefix = name.partition(":")[0]
        holder = etree.Element(_qualified(name), nsmap={prefix: _NAMESPACES[prefix]})
        _append(description, holder, _indent(description) + " ")
        array = etree.Element(_rdf(KINDS[name]))
        _append(holder, array, _indent(holder) + " ")
        return array

    def is_empty(self) -> bool:
        """Whether it says nothing: no property, and nothing that is not XMP."""
        around = [*self.root.itersiblings(), *self.root.itersiblings(preceding=True)]
        if any(not isinstance(node, etree._ProcessingInstruction) or node.target != "xpacket" for node in around):
            return False
        inside = [] if self.rdf is self.root else [node for node in self.root if node is not self.rdf]
        return not inside and all(_is_bare(node) for node in self.rdf)

    def to_bytes(self) -> bytes:
        """The file. All around the outermost element stays as it is, byte for byte."""
        start, end = self.place
        before = self.data[start:end]
        encoding = self.root.getroottree().docinfo.encoding or "UTF-8"
        data: bytes = etree.tostring(self.root, encoding=encoding, xml_declaration=False, with_tail=False)
        if 0 < before.count(b"\n") == before.count(b"\r\n"):
            data = data.replace(b"\n", b"\r\n")  # a parser makes one character of the two
        return self.data[:start] + data + self.data[end:]


def _place(data: bytes) -> tuple[int, int]:
    """Where the outermost element is. Stops at a document type, before anything in it is read.

    Raises:
        BadPacket
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        raise BadPacket("it is not in UTF-8")
    depth, start, end = 0, 0, 0

    def refuse(*_: object) -> None:
        raise BadPacket("it has a document type, which XMP never has")

    def begin(*_: object) -> None:
        nonlocal depth, start
        if not depth:
            start = parser.CurrentByteIndex
        depth += 1

    def finish(_: str) -> None:
        nonlocal depth, end
        depth -= 1
        if not depth:
            end = parser.CurrentByteIndex

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = finish
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadPacket(f"it is not well-formed ({_first_line(error)})") from error
    if not data.startswith(b"</", end):
        raise BadPacket("it is XML, but not XMP")  # <alone/>
    return start, data.index(b">", end) + 1


def _first_line(error: Exception) -> str:
    """What is wrong, for a line of a report. What is quoted of the file may be as long as that is."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if len(line) <= _MOST_QUOTED else f"{line[:_MOST_QUOTED]} …"


def _rdf(name: str) -> str:
    return f"{{{RDF}}}{name}"


def _qualified(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


def _text(item: etree._Element) -> str:
    return str(item.xpath("string()")).strip()


def _texts(array: etree._Element) -> Iterator[str]:
    return (_text(item) for item in array.iterchildren(_rdf("li")))


def _is_bare(node: etree._Element) -> bool:
    """Whether it is a description of nothing."""
    if node.tag != _rdf("Description") or len(node) or _is_text(node.text) or _is_text(node.tail):
        return False
    return all(name in (_rdf("about"), "about") for name in node.attrib)


def _indent(element: etree._Element) -> str:
    """What stands before an element in its line."""
    before = element.getprevious()
    parent = element.getparent()
    text = before.tail if before is not None else parent.text if parent is not None else None
    line = (text or "").rpartition("\n")[2]
    return line if not line.strip() else ""


def _append(parent: etree._Element, child: etree._Element, indent: str) -> None:
    """Put an element behind the others, in a line of its own as they have. Text that stands there, where XMP has none,
    stays once and before it.
    """
    line = f"\n{indent}"
    if len(parent):
        last = parent[-1]
        child.tail = last.tail
        last.tail = line if _is_text(parent.text) else parent.text
    else:
        child.tail = f"\n{indent[:-1]}"
        if not _is_text(parent.text):
            parent.text = line
    parent.append(child)


def _drop(element: etree._Element) -> None:
    """Take an element away, as if `_append` had never put it there."""
    parent, before = element.getparent(), element.getprevious()
    assert parent is not None
    between, tail = (before.tail if before is not None else parent.text) or "", element.tail or ""
    if _is_text(between):  # it is not ours, here or behind the element
        rest = between + (tail if _is_text(tail) else "")
    elif _is_text(tail):
        rest = tail
    elif element.getnext() is not None:
        rest = between
    else:
        rest = tail if before is not None else ""
    parent.remove(element)
    if before is None:
        parent.text = rest or None
    else:
        before.tail = rest


def _is_text(said: str | None) -> bool:
    """Whether it says anything, other than where lines end."""
    return bool(said and said.strip())
