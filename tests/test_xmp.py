"""XMP packets: what is added and taken away, what stays, and what is not touched at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsindex.exchange import xmp

# Written as several programs write: attributes and elements, comments, other namespaces, padding at the end.
OTHERS = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- by hand -->
<?other program="yes"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3">
   <xmp:Label>Gr&#xFC;n &amp; <![CDATA[<blue>]]></xmp:Label>
   <!-- a comment inside -->
   <?inside it?>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday</rdf:li>
     <!-- between -->
     <rdf:li> cat </rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:mine="urn:mine" mine:note="x"/>
 </rdf:RDF>
</x:xmpmeta>
                                        \n\n<?xpacket end="w"?>""".encode()
RDF_ONLY = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
TAGS = {xmp.SUBJECT: ["dog", "cat"], xmp.HIERARCHY: ["z|dog"], xmp.TAGS_LIST: ["z/dog", "z/cat"]}


def canonical(data: bytes) -> str:
    """The content of a packet, whatever the order of attributes and namespaces in a tag."""
    from lxml import etree

    return str(etree.tostring(etree.fromstring(data), method="c14n").decode())


def test_a_new_packet_holds_what_was_added() -> None:
    made = xmp.add(None, TAGS)
    assert xmp.texts_in(made.data) == TAGS
    assert made.added == TAGS
    assert made.made == tuple(TAGS)
    assert made.data.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<x:xmpmeta ')
    assert made.data.endswith(b"</x:xmpmeta>\n")
    rest, is_empty = xmp.remove(made.data, made.added, made.made)
    assert is_empty
    assert xmp.texts_in(rest) == {name: [] for name in TAGS}


def test_lists_have_the_kinds_that_others_expect() -> None:
    text = xmp.add(None, TAGS).data.decode()
    assert re.findall(r"<(dc:subject|lr:\w+|digiKam:\w+)[^>]*>\s*<rdf:(\w+)>", text) == [
        ("dc:subject", "Bag"),
        ("lr:hierarchicalSubject", "Bag"),
        ("digiKam:TagsList", "Seq"),
    ]


def test_what_was_there_stays_and_is_not_ours() -> None:
    result = xmp.add(OTHERS, TAGS)
    assert result.added == {**TAGS, xmp.SUBJECT: ["dog"]}  # the cat was there
    assert set(result.made) == {xmp.HIERARCHY, xmp.TAGS_LIST}
    assert xmp.texts_in(result.data)[xmp.SUBJECT] == ["holiday", "cat", "dog"]
    start, end = OTHERS.index(b"<x:xmpmeta"), OTHERS.index(b"</x:xmpmeta>")
    assert result.data.startswith(OTHERS[:start])
    assert result.data.endswith(OTHERS[end:])  # the padding, too
    for kept in (
        "<!-- a comment inside -->",
        "<?inside it?>",
        "<![CDATA[<blue>]]>",
        'mine:note="x"',
        "<!-- between -->",
    ):
        assert kept in result.data.decode()
    rest, is_empty = xmp.remove(result.data, result.added, result.made)
    assert not is_empty
    assert canonical(rest) == canonical(OTHERS)
    assert rest.split(b"\n")[0] == OTHERS.split(b"\n")[0]


@pytest.mark.parametrize("change", [b"\r\n", b"\n", b""], ids=["crlf", "lf", "one line"])
def test_line_ends_stay(change: bytes) -> None:
    data = re.sub(rb"\n", change, OTHERS)
    result = xmp.add(data, TAGS)
    assert canonical(xmp.remove(result.data, result.added, result.made)[0]) == canonical(data)
    if change == b"\r\n":
        assert result.data.count(b"\n") == result.data.count(b"\r\n")


@pytest.mark.parametrize("data", [RDF_ONLY, b"\xef\xbb\xbf" + OTHERS, OTHERS.replace(b'<?xpacket end="w"?>', b"")])
def test_other_forms(data: bytes) -> None:
    result = xmp.add(data, TAGS)
    assert {text for texts in xmp.texts_in(result.data).values() for text in texts} >= {"dog", "z|dog", "z/dog"}
    rest, is_empty = xmp.remove(result.data, result.added, result.made)
    assert canonical(rest).replace("\n", "").replace(" ", "") == canonical(data).replace("\n", "").replace(" ", "")
    assert is_empty == (data == RDF_ONLY)
    assert rest.startswith(data[:3])


def test_a_latin_packet_stays_latin() -> None:
    data = b'<?xml version="1.0" encoding="ISO-8859-1"?>' + RDF_ONLY.replace(b"</", b'<rdf:Description a="\xfc"/></')
    result = xmp.add(data, {xmp.SUBJECT: ["Käse", "猫"]})
    assert b"K\xe4se" in result.data
    assert xmp.texts_in(result.data)[xmp.SUBJECT] == ["Käse", "猫"]


def test_adding_what_is_there_changes_no_byte() -> None:
    result = xmp.add(OTHERS, {xmp.SUBJECT: ["cat", "holiday"], xmp.HIERARCHY: []})
    assert (result.data, result.added, result.made) == (OTHERS, {}, ())
    assert xmp.remove(OTHERS, {xmp.SUBJECT: ["no such"]}, [xmp.SUBJECT]) == (OTHERS, False)


def test_an_empty_list_that_was_there_stays() -> None:
    data = RDF_ONLY.replace(
        b"</rdf",
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Seq/></dc:subject>'
        b"</rdf:Description></rdf",
    )
    result = xmp.add(data, {xmp.SUBJECT: ["cat"]})
    assert result.made == ()
    assert b"rdf:Seq" in result.data
    rest, is_empty = xmp.remove(result.data, result.added, result.made)
    assert canonical(rest) == canonical(data)
    assert not is_empty


def test_a_text_that_stands_twice_is_taken_once() -> None:
    twice = OTHERS.replace(b"holiday", b"cat")
    rest, _ = xmp.remove(twice, {xmp.SUBJECT: ["cat"]})
    assert xmp.texts_in(rest)[xmp.SUBJECT] == ["cat"]


LIST = b"<dc:subject><rdf:Bag><rdf:li>a</rdf:li></rdf:Bag></dc:subject>"


def within(content: bytes, attributes: bytes = b"") -> bytes:
    return RDF_ONLY.replace(
        b"</rdf:RDF>",
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"'
        + attributes
        + b">"
        + content
        + b"</rdf:Description></rdf:RDF>",
    )


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
REFUSED = {
    "document type": (b"<!DOCTYPE x>" + RDF_ONLY, "document type"),
    "entities": (BOMB + within(LIST.replace(b">a<", b">&b;<")), "document type"),
    "external entity": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + RDF_ONLY, "document type"),
    "cut short": (OTHERS[:700], "well-formed"),
    "nothing": (b"", "well-formed"),
    "no XML": (b"\x89PNG\r\n", "well-formed"),
    "unknown entity": (within(b"&nbsp;"), "well-formed"),
    "other XML": (b"<html></html>", "not XMP"),
    "other XML, empty": (b"<html/>", "not XMP"),
    "UTF-16": (OTHERS.decode().encode("utf-16"), "UTF-8"),
    "UTF-16 without a mark": (RDF_ONLY.decode().encode("utf-16-le"), "UTF-8"),
    "unknown encoding": (b'<?xml version="1.0" encoding="klingon"?>' + RDF_ONLY, "well-formed"),
    "too large": (OTHERS + b" " * xmp.MAX_BYTES, "larger"),
    "a text": (within(b"<dc:subject>cat</dc:subject>"), "not a list"),
    "an attribute": (within(b"", b' dc:subject="cat"'), "not a list"),
    "alternatives": (within(LIST.replace(b"Bag", b"Alt")), "not a list"),
    "twice": (within(LIST + LIST), "more than one"),
    "twice, apart": (within(LIST).replace(b"</rdf:RDF>", within(LIST)[len(RDF_ONLY) - 10 :]), "more than one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_touched(name: str) -> None:
    data, why = REFUSED[name]
    for work in (lambda: xmp.add(data, {xmp.SUBJECT: ["x"]}), lambda: xmp.remove(data, {xmp.SUBJECT: ["x"]})):
        with pytest.raises(xmp.BadPacket, match=why):
            work()


def test_what_is_said_of_a_packet_fits_in_a_line() -> None:
    data = within(b"", attributes=b" xmlns:a='" + b"9" * 9_000 + b" x://%'")
    for broken in (data, data.replace(b"/rdf:RDF", b"/" + b"x" * 9_000)):
        with pytest.raises(xmp.BadPacket, match="well-formed") as refused:
            xmp.add(broken, {xmp.SUBJECT: ["x"]})
        assert len(str(refused.value)) < 300


names = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"), min_size=1)
texts = st.lists(names.map(str.strip).filter(bool), max_size=4, unique=True)


@given(before=texts, tags=st.fixed_dictionaries({}, optional=dict.fromkeys(xmp.KINDS, texts)))
def test_taking_away_undoes_adding(before: list[str], tags: dict[str, list[str]]) -> None:
    data = xmp.add(OTHERS, {xmp.SUBJECT: before}).data
    result = xmp.add(data, tags)
    there = xmp.texts_in(data)
    assert xmp.texts_in(result.data) == {
        name: there[name] + [text for text in tags.get(name, []) if text not in there[name]] for name in xmp.KINDS
    }
    assert canonical(xmp.remove(result.data, result.added, result.made)[0]) == canonical(data)


@pytest.mark.parametrize("where", ["<rdf:Bag>mine", "</rdf:li>mine", "<rdf:Seq>mine"])
def test_text_where_xmp_has_none_stays_and_stays_once(where: str) -> None:
    before = xmp.add(xmp.add(None, {xmp.SUBJECT: ["x"]}).data, {xmp.TAGS_LIST: ["x"]})
    data = before.data.replace(b"<rdf:Seq>", b"<rdf:Seq></rdf:Seq>", 1) if "Seq" in where else before.data
    if "Seq" in where:
        data = re.sub(rb"<rdf:Seq>.*?</rdf:Seq>.*?</rdf:Seq>", b"<rdf:Seq></rdf:Seq>", data, flags=re.DOTALL)
    data = data.replace(where.removesuffix("mine").encode(), where.encode(), 1)
    result = xmp.add(data, TAGS)
    assert result.data.count(b"mine") == 1
    assert canonical(xmp.remove(result.data, result.added, result.made)[0]) == canonical(data)
