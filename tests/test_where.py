"""Filters: what they say, and which photos fit."""

from __future__ import annotations

import json
import math
import operator
import pickle
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from zsindex import where as offered
from zsindex.arguments.filters import KINDS, KNOWABLE
from zsindex.classification import fitting as evaluated
from zsindex.classification.fitting import EARTH_KM, Fits, fits
from zsindex.errors import BadFilter
from zsindex.records import Facts, Place, Taken, TakenFrom
from zsindex.storage.facts_table import FactsTable
from zsindex.where import (
    Filter,
    Where,
    answered,
    box,
    camera,
    corrected,
    file_format,
    hour,
    keyword,
    lens,
    month,
    near,
    orientation,
    path,
    place,
    rating,
    size,
    taken,
    year,
)

NAMES = {name: getattr(offered, name) for name in offered.__all__}


def none_of(_: Filter) -> Fits:
    raise AssertionError("nothing was asked about answers")


def table_of(facts: Sequence[Facts], paths: Sequence[str] | None = None) -> FactsTable:
    names = [f"/photos/{n:03}.jpg" for n in range(len(facts))] if paths is None else paths
    files = [(name, n + 1, 0) for n, name in enumerate(names)]
    return FactsTable.of((1, 1), files, [(True, one) for one in facts])


def fitting(where: Where, facts: Sequence[Facts]) -> list[int]:
    return np.flatnonzero(fits(where, table_of(facts), none_of)).tolist()


def at(text: str, offset_s: int | None = None) -> Facts:
    return Facts(taken=Taken(datetime.fromisoformat(text), offset_s, TakenFrom.EXIF))


def in_place(latitude: float, longitude: float) -> Facts:
    return Facts(place=Place(latitude, longitude))


# --- what they say ----------------------------------------------------------------------------------------------------


def test_the_example_says_what_it_says() -> None:
    where = (taken >= "2019-06") & ~camera.contains("iPhone") & near(48.1, 11.6, km=20)
    assert repr(where) == "(taken >= '2019-06') & ~camera.contains('iPhone') & near(48.1, 11.6, km=20)"
    assert where.to_json() == {"and": [{"near": "48.1,11.6,20"}, {"not": {"camera": "iPhone"}}, {"since": "2019-06"}]}
    assert [one.name for one in where] == ["since", "camera", "near"]


EXPRESSIONS = [
    taken >= "2019-06",
    taken > "2019-06",
    taken <= date(2019, 8, 31),
    taken < datetime(2019, 6, 1, 12, 30),
    taken == "2020-02-29",
    taken.between("2019", "2020-03"),
    year == 2019,
    year.among("2015,2017..2019"),
    month.between(11, 2),
    month >= 6,
    hour <= 5,
    hour > 21,
    camera.contains("iPhone"),
    camera == "Canon EOS 5D",
    camera != "Canon EOS 5D",
    camera.known & ~camera.contains("iPhone"),
    lens.contains("50mm"),
    near(-17.5, -179.9, km=0.5),
    box(-20, 170, -10, -170),
    rating >= 4,
    rating > 3,
    rating == -1,
    keyword == "Tiere|Vögel",
    file_format == "jpg",
    orientation == "portrait",
    size >= "12MP",
    size < "1080x1920",
    path.under("/photos/2019"),
    place.known,
    answered("animals", "owl"),
    answered("animals", "a label: 0.5", min_score=0.25),
    answered("animals", "odd:0.5"),
    corrected("animals"),
    ~((year == 2019) | (rating >= 4)),
    ((year == 2019) & (rating >= 4)) | (keyword == "x") | ~(camera.contains("a") & (month == 7)),
]


@pytest.mark.parametrize("where", EXPRESSIONS, ids=repr)
def test_an_expression_can_be_read_again(where: Where) -> None:
    assert eval(repr(where), NAMES) == where
    assert Where.from_json(json.loads(json.dumps(where.to_json()))) == where
    assert Where.from_json_text(where.key) == where
    assert Where.of(where.to_json()) == where
    assert Where.of(where) is where
    assert pickle.loads(pickle.dumps(where)) == where
    assert hash(Where.from_json(where.to_json())) == hash(where)
    assert ~~where == where != ~where


def test_every_kind_reads_its_example() -> None:
    for name, kind in KINDS.items():
        one = Filter.parse(name, kind.example)
        assert Filter.parse(name, one.value) == one, name
        assert eval(repr(one), NAMES) == one
    assert {one.name for where in EXPRESSIONS for one in where} == set(KINDS)


def test_equal_is_what_says_the_same() -> None:
    a, b, c = year == 2019, rating >= 4, camera.contains("x")
    assert a & b == b & a
    assert (a & b) & c == c & (b & a)
    assert a & a == a
    assert a & b != a | b
    assert a & b != a
    assert (taken >= "2019-06") == (taken >= "2019-06-01T00:00") == (taken > "2019-05")
    assert (taken < "2019-06") == (taken <= "2019-05-31")
    assert (size >= "1080x1920") == (size >= "1920×1080")
    assert near(48, 11, km=5) == Filter.parse("near", " 48.0 , 11 ,5.0") == near(48.0, 11.0, km=5.0)
    assert (keyword == "Vo\u0308gel") == (keyword == "V\u00f6gel")
    assert Where.from_json({"year": 2019, "rating": "4.."}) == (year == 2019) & (rating >= 4)
    assert Where.from_json({"near": [48.1, 11.6, 20]}) == near(48.1, 11.6, km=20)
    assert (year == 2019) != {"year": "2019"}


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: (year == 2019) and (rating >= 4),
        lambda: (year == 2019) or (rating >= 4),
        lambda: not (rating >= 4),
        lambda: 2017 <= year <= 2019,
        lambda: "2019" <= taken <= "2020",
        lambda: (year == 2019) & True,
        lambda: True & (year == 2019),
        lambda: "x" | (year == 2019),
        lambda: (taken >= "2019") | None,
        lambda: bool(taken),
        lambda: year == "2019",
        lambda: rating >= "4",
        lambda: year == True,  # noqa: E712
        lambda: taken == 2019,
        lambda: camera == 5,
        lambda: size >= 12,
        lambda: Where.of("camera"),  # type: ignore[arg-type]  # what mypy would say
    ],
)
def test_misuse_is_refused(misuse: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        misuse()


def test_misuse_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"& for and.*each comparison in parentheses"):
        _ = (year == 2019) and (rating >= 4)
    with pytest.raises(TypeError, match="put each comparison in parentheses"):
        _ = "2019" & (rating >= 4)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("since", "2019-02-29", "'2019-02-29' is no time: day"),
        ("since", "2019-13", "month must be in 1..12"),
        ("since", "14.07.2019", "is neither YYYY, YYYY-MM"),
        ("since", "2019-07-14T25:00", "hour must be"),
        ("since", "2019-07-14T12:00Z", "has a time zone"),
        ("until", "2019-07-14 12:00+02:00", "has a time zone"),
        ("since", "0000", "year"),
        ("since", "", "is neither"),
        ("until", "２０１９", "is neither"),
        ("year", "2019..2017", "the first number is the larger one"),
        ("year", "20x9", "'20x9' is not a whole number"),
        ("year", "..", "neither a beginning nor an end"),
        ("year", "2019.5", "is not a whole number"),
        ("year", "2019,", "in '2019,' a number is missing"),
        ("month", "13", "13 is not a month, which go from 1 to 12"),
        ("hour", "6..24", "24 is not an hour"),
        ("rating", "6", "6 is not a rating"),
        ("rating", "nan", "'nan' is not a number"),
        ("rating", "4...", "'.' is not a number"),
        ("camera", "  ", "is empty"),
        ("camera", "=", "is empty"),
        ("camera", "a\0b", "is no text"),
        ("near", "48.1,11.6", "expected LAT,LON,KM"),
        ("near", "48.1,11.6,20,1", "expected LAT,LON,KM"),
        ("near", "48.1;11.6;20", "expected LAT,LON,KM"),
        ("near", "91,11.6,20", "91, for LAT in '91,11.6,20', is not from -90 to 90"),
        ("near", "48.1,181,20", "181, for LON"),
        ("near", "48.1,east,20", "'east', for LON"),
        ("near", "48.1,11.6,-1", "is less than none"),
        ("near", "48.1,11.6,inf", "'inf', for KM"),
        ("box", "48,10,47,11", "the south, 48, lies north of the north, 47"),
        ("box", "48,10,47", "expected SOUTH,WEST,NORTH,EAST"),
        ("keyword", "Animals||Owl", "a level of the keyword is empty"),
        ("file_format", "a/b", "is not the name of a format"),
        ("orientation", "sideways", "landscape, portrait, square"),
        ("min_size", "12", "neither WIDTHxHEIGHT in pixels nor megapixels"),
        ("min_size", "0x1080", "has a side of no pixels"),
        ("min_size", "0MP", "no pixels"),
        ("path", "photos", "is not an absolute path"),
        ("has", "cheese", "camera, keyword, lens, place, rating, taken"),
        ("answer", "owl", "has no = between"),
        ("answer", "=owl", "the name of the label set is empty"),
        ("answer", "animals=", "the label is empty"),
        ("answer", "animals=owl:1.5", "the score 1.5"),
        ("corrected", " ", "is empty"),
        ("colour", "red", "there is no filter 'colour'"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place_and_an_example(name: str, text: str, why: str) -> None:
    with pytest.raises(BadFilter) as told:
        Filter.parse(name, text)
    assert why in str(told.value)
    assert str(told.value).startswith(f"{name}: ")
    assert f"; for example {told.value.example}" in str(told.value)
    if name in KINDS:
        Filter.parse(name, told.value.example)
    again = pickle.loads(pickle.dumps(told.value))
    assert (str(again), again.at, again.example) == (str(told.value), name, told.value.example)


@pytest.mark.parametrize(
    ("said", "place_of_it"),
    [
        ({"and": [{"year": 2019}, {"or": [{"not": {"near": "1,2"}}]}]}, "where.and[1].or[0].not.near: "),
        ({"and": []}, "where.and: expected a list"),
        ({"or": {"year": 2019}}, "where.or: expected a list"),
        ({"not": []}, "where.not: expected an object"),
        ({}, "where: expected an object"),
        ([], "where: expected an object"),
        (None, "where: expected an object"),
        ({"year": True}, "where.year: expected a text, not True"),
        ({"camera": None}, "where.camera: expected a text, not None"),
        ({"camera": {}}, "where.camera: expected a text"),
        ({"near": [48, "x", 1]}, "where.near: expected a text"),
        ({"NOT": {"year": 2019}}, "where.NOT: there is no filter 'NOT'"),
    ],
)
def test_json_that_cannot_be_read_names_the_way_to_it(said: object, place_of_it: str) -> None:
    with pytest.raises(BadFilter) as told:
        Where.from_json(said)
    assert str(told.value).startswith(place_of_it)
    _, _, example = str(told.value).partition("; for example ")
    assert example == told.value.example != ""


def test_json_of_any_depth_and_length_is_refused_in_time() -> None:
    deep: object = {"year": 2019}
    for _ in range(50 + 1):
        deep = {"not": deep}
    with pytest.raises(BadFilter, match="more than 50 levels deep"):
        Where.from_json(deep)
    with pytest.raises(BadFilter, match="more than 100 filters"):
        Where.from_json({"or": [{"year": 2000 + n % 100} for n in range(101)]})
    with pytest.raises(BadFilter, match="it is not JSON"):
        Where.from_json_text("[" * 100_000)


def test_times_beyond_the_calendar_are_refused() -> None:
    with pytest.raises(BadFilter):
        _ = taken > "9999"
    with pytest.raises(BadFilter):
        _ = taken < "0001"
    with pytest.raises(BadFilter, match="time zone"):
        _ = taken >= datetime(2019, 1, 1, tzinfo=timezone(timedelta(hours=2)))


# --- which photos fit -------------------------------------------------------------------------------------------------


def test_times_are_those_of_the_clock_where_the_photo_was_taken() -> None:
    facts = [
        at("2019-05-31T23:59:59.999999"),
        at("2019-06-01T00:00:00", 7200),
        at("2019-06-30T23:59:59.999999", -36000),
        at("2019-07-01T00:00:00"),
        Facts(),
    ]
    assert fitting(taken >= "2019-06", facts) == [1, 2, 3]
    assert fitting(taken > "2019-06", facts) == [3]
    assert fitting(taken <= "2019-06", facts) == [0, 1, 2]
    assert fitting(taken < "2019-06", facts) == [0]
    assert fitting(taken == "2019-06", facts) == [1, 2]
    assert fitting(taken != "2019-06", facts) == [0, 3, 4]
    assert fitting(month == 6, facts) == [1, 2]
    assert fitting(~(month == 6), facts) == [0, 3, 4]
    assert fitting(taken.known & ~(month == 6), facts) == [0, 3]


def test_leap_days_years_before_1970_and_turns() -> None:
    facts = [
        at("2020-02-29T12:00:00"),
        at("2019-03-01T00:00:00"),
        at("1969-12-31T23:59:59.999999"),
        at("1970-01-01T00:00:00"),
        at("1900-02-28T23:00:00"),
        at("1999-12-31T23:59:59.999999"),
        at("2000-01-01T00:00:00"),
    ]
    assert fitting(taken == "2020-02", facts) == fitting(taken == "2020-02-29", facts) == [0]
    assert fitting(taken <= "2019-02", facts) == [2, 3, 4, 5, 6]
    assert fitting(year == 1969, facts) == [2]
    assert fitting(year == 1970, facts) == [3]
    assert fitting(year <= 1969, facts) == [2, 4]
    assert fitting(year == 1999, facts) == [5]
    assert fitting(year.among("1900,2000..2019"), facts) == [1, 4, 6]
    assert fitting(month.between(12, 1), facts) == [2, 3, 5, 6]
    assert fitting(month == 2, facts) == [0, 4]
    assert fitting(hour.between(23, 0), facts) == [1, 2, 3, 4, 5, 6]
    assert fitting(hour == 23, facts) == [2, 4, 5]
    assert fitting(hour.between(1, 22), facts) == [0]


def test_an_hour_that_comes_twice_or_never_is_that_of_the_clock() -> None:
    # Clocks went from 2:00 to 3:00 on 31 March 2019, and from 3:00 to 2:00 on 27 October.
    facts = [
        at("2019-03-31T01:59:59", 3600),
        at("2019-03-31T03:00:00", 7200),
        at("2019-10-27T02:30:00", 7200),
        at("2019-10-27T02:30:00", 3600),
    ]
    assert fitting(hour == 2, facts) == [2, 3]
    assert fitting(taken >= "2019-03-31T02:00", facts) == [1, 2, 3]
    assert fitting(taken == "2019-10-27T02:30", facts) == [2, 3]


def test_places_over_the_180th_meridian_and_at_the_poles() -> None:
    facts = [
        in_place(-17.0, 179.99),
        in_place(-17.0, -179.99),
        in_place(-17.0, 180.0),
        in_place(-17.0, -180.0),
        in_place(90.0, 12.0),
        in_place(89.999, -100.0),
        in_place(-90.0, 0.0),
        in_place(48.1, 11.6),
        in_place(0.0, 0.0),
        Facts(),
    ]
    assert fitting(near(-17, 180, km=2), facts) == [0, 1, 2, 3]
    assert fitting(near(-17, -179.995, km=0.6), facts) == [1, 2, 3]
    assert fitting(near(90, 0, km=1), facts) == [4, 5]
    assert fitting(near(90, -77, km=0), facts) == [4]
    assert fitting(near(89.999, 80, km=0.3), facts) == [4, 5]
    assert fitting(near(48.1, 11.6, km=0), facts) == [7]
    assert fitting(near(0, 0, km=math.pi * EARTH_KM), facts) == [*range(9)]
    assert fitting(box(-18, 179, -16, -179), facts) == [0, 1, 2, 3]
    assert fitting(box(-18, 179, -16, 180), facts) == [0, 2, 3]
    assert fitting(box(-18, -180, -16, -179), facts) == [1, 2, 3]
    assert fitting(box(-90, -180, 90, 180), facts) == [*range(9)]
    assert fitting(box(80, 0, 90, 10), facts) == [4]
    assert fitting(box(48.1, 11.6, 48.1, 11.6), facts) == [7]
    assert fitting(~box(-90, -180, 90, 180), facts) == fitting(~place.known, facts) == [9]


def test_distances_are_great_circles() -> None:
    # Munich to Berlin, as other programs have it: 504 km.
    there = [in_place(52.52, 13.405)]
    assert fitting(near(48.137, 11.575, km=505), there) == [0]
    assert fitting(near(48.137, 11.575, km=503), there) == []
    # A degree of latitude, and one of longitude at 60 degrees, half as long.
    assert fitting(near(0, 0, km=111.3), [in_place(1, 0), in_place(0, 1)]) == [0, 1]
    assert fitting(near(60, 0, km=55.7), [in_place(60, 1), in_place(61, 0)]) == [0]


@pytest.mark.parametrize("most_pairs", [0, 2**20])
def test_names_of_cameras_in_any_case_and_width(monkeypatch: pytest.MonkeyPatch, most_pairs: int) -> None:
    monkeypatch.setattr(evaluated, "_MOST_PAIRS", most_pairs)
    facts = [
        Facts(make="Apple", camera="iPhone 12 Pro"),
        Facts(make="Canon", camera="Canon EOS 5D"),
        Facts(make="NIKON CORPORATION"),
        Facts(camera="ＩＰＨＯＮＥ"),
        Facts(),
    ]
    assert fitting(camera.contains("iphone"), facts) == [0, 3]
    assert fitting(camera.contains("APPLE"), facts) == [0]
    assert fitting(camera.contains("apple iphone"), facts) == [0]
    assert fitting(camera.contains("canon canon"), facts) == []
    assert fitting(camera.contains("nikon"), facts) == [2]
    assert fitting(camera == "canon eos 5d", facts) == [1]
    assert fitting(camera == "iPhone 12 Pro", facts) == fitting(camera == "Apple iPhone 12 Pro", facts) == [0]
    assert fitting(camera == "iPhone", facts) == [3]
    assert fitting(~camera.contains("iphone"), facts) == [1, 2, 4]
    assert fitting(camera.known & ~camera.contains("iphone"), facts) == [1, 2]
    assert fitting(lens.contains("50"), [Facts(lens="EF50mm f/1.8"), Facts()]) == [0]


def test_keywords_in_many_scripts_cases_and_levels() -> None:
    facts = [
        Facts(keywords=("Animals|Birds|Owl",)),
        Facts(keywords=("birds", "ΣΊΣΥΦΟΣ")),
        Facts(keywords=("Straße", "夏祭り")),
        Facts(keywords=("Birdsong", "İstanbul")),
        Facts(keywords=("Animals", "Owl")),
        Facts(keywords=("Vo\u0308gel", "птицы")),
        Facts(),
    ]
    assert fitting(keyword == "Animals", facts) == [0, 4]
    assert fitting(keyword == "Animals|Birds", facts) == [0]
    assert fitting(keyword == "Birds", facts) == [0, 1]
    assert fitting(keyword == "Animals|Owl", facts) == []
    assert fitting(keyword == "σίσυφος", facts) == [1]
    assert fitting(keyword == "STRASSE", facts) == [2]
    assert fitting(keyword == "夏祭り", facts) == [2]
    assert fitting(keyword == "VÖGEL", facts) == [5]
    assert fitting(keyword == "ПТИЦЫ", facts) == [5]
    assert fitting(keyword == "İSTANBUL", facts) == [3]
    assert fitting(keyword.known, facts) == [0, 1, 2, 3, 4, 5]
    assert fitting(~(keyword == "Birds"), facts) == [2, 3, 4, 5, 6]


def test_ratings_sizes_formats_and_orientations() -> None:
    facts = [
        Facts(rating=5, width=4000, height=3000, format="JPEG"),
        Facts(rating=-1, width=1080, height=1920, format="MPO"),
        Facts(rating=3.5, width=1000, height=1000, format="HEIF"),
        Facts(format="PNG", width=100_000, height=100_000),
        Facts(),
    ]
    assert fitting(rating >= 4, facts) == [0]
    assert fitting(rating > 3, facts) == [0, 2]
    assert fitting(rating <= 0, facts) == fitting(rating == -1, facts) == fitting(rating < 0, facts) == [1]
    assert fitting(rating.known, facts) == [0, 1, 2]
    assert fitting(size >= "12MP", facts) == [0, 3]
    assert fitting(size >= "1920x1080", facts) == [0, 1, 3]
    assert fitting(size < "1920x1080", facts) == [2, 4]
    assert fitting(file_format == "jpg", facts) == [0, 1]
    assert fitting(file_format == "heic", facts) == [2]
    assert fitting(orientation == "landscape", facts) == [0]
    assert fitting(orientation == "portrait", facts) == [1]
    assert fitting(orientation == "square", facts) == [2, 3]


def test_paths_are_whole_names() -> None:
    paths = ["/photos/2019/a.jpg", "/photos/2019/b/c.jpg", "/photos/20190/d.jpg", "/photos/2019"]
    table = table_of([Facts()] * 4, paths)
    assert np.flatnonzero(fits(path.under("/photos/2019"), table, none_of)).tolist() == [0, 1, 3]
    assert np.flatnonzero(fits(path.under("/photos/2019/a.jpg"), table, none_of)).tolist() == [0]
    assert fits(path.under("/"), table, none_of).all()


def test_no_photos_are_no_error() -> None:
    for name, kind in KINDS.items():
        if name not in ("answer", "corrected"):
            assert fits(Filter.parse(name, kind.example), table_of([]), none_of).tolist() == []


# --- by brute force ---------------------------------------------------------------------------------------------------

WORDS = ("Animals|Birds|Owl", "animals", "Birds", "Straße", "STRASSE", "夏", "Owl|Animals", "x|y")
CAMERAS = ("iPhone 12", "Canon EOS 5D", "EOS 5D", "X100")
MAKES = ("Apple", "Canon", "FUJIFILM")


def made_up(random: np.random.Generator) -> Facts:
    def maybe(value: Any) -> Any:
        return value if random.random() < 0.7 else None

    moment = datetime(1960, 1, 1) + timedelta(hours=int(random.integers(0, 600_000)), minutes=int(random.integers(60)))
    where = Place(
        float(random.choice([-90, -17, 0, 48.1, 89.9, 90])), float(random.choice([-180, -179.9, 0, 11.6, 179.9, 180]))
    )
    return Facts(
        taken=maybe(Taken(moment, None, TakenFrom.EXIF)),
        make=maybe(str(random.choice(MAKES))),
        camera=maybe(str(random.choice(CAMERAS))),
        lens=maybe(str(random.choice(["EF50mm", "XF 23"]))),
        place=maybe(where),
        width=maybe(int(random.choice([100, 1080, 1920, 4000]))),
        height=maybe(int(random.choice([100, 1080, 1920, 4000]))),
        format=maybe(str(random.choice(["JPEG", "MPO", "PNG", "HEIF"]))),
        rating=maybe(float(random.choice([-1, 1, 3, 3.5, 5]))),
        keywords=tuple(str(word) for word in random.choice(WORDS, int(random.integers(0, 3)), replace=False)),
    )


def one_filter(random: np.random.Generator) -> Filter:
    low, high = sorted(random.integers(1955, 2035, 2).tolist())
    months, hours = random.integers(1, 13, 2).tolist(), random.integers(0, 24, 2).tolist()
    texts = {
        "since": [str(low), f"{low}-02", f"{low}-07-14T12:30"],
        "until": [str(high), f"{high}-02", f"{high}-12-31T23"],
        "year": [f"{low}..{high}", f"{low}", f"..{low}", f"{high}..", f"{low},{high}"],
        "month": [f"{months[0]}..{months[1]}", f"{months[0]},{months[1]}"],
        "hour": [f"{hours[0]}..{hours[1]}", f"{hours[0]}.."],
        "camera": ["canon", "=EOS 5D", "apple iphone", "x"],
        "lens": ["50", "=xf 23"],
        "near": ["-17,180,50", "90,0,100", "48,11,30", "0,0,0"],
        "box": ["-20,170,0,-170", "40,0,90,20", "-90,-180,90,180"],
        "rating": ["4..", "..3", "3.2..3.6", "-1"],
        "keyword": ["Animals", "Birds", "animals|birds", "strasse", "夏", "owl"],
        "file_format": ["jpeg", "heic"],
        "orientation": ["portrait", "square", "landscape"],
        "min_size": ["1920x1080", "2MP"],
        "path": ["/photos", "/photos/00", "/elsewhere", "/photos/001.jpg"],
        "has": list(KNOWABLE),
    }
    name = str(random.choice(sorted(texts)))
    return Filter.parse(name, str(random.choice(texts[name])))


def some_expression(random: np.random.Generator, depth: int) -> Where:
    if depth == 0 or random.random() < 0.3:
        return one_filter(random)
    if random.random() < 0.3:
        return ~some_expression(random, depth - 1)
    join = operator.and_ if random.random() < 0.5 else operator.or_
    whole: Where = join(some_expression(random, depth - 1), some_expression(random, depth - 1))
    return whole


def fits_one(said: dict[str, Any], facts: Facts, file: str) -> bool:
    """The same said once more, for one photo, without arrays."""
    [(name, value)] = said.items()
    if name == "not":
        return not fits_one(value, facts, file)
    if name in ("and", "or"):
        return (all if name == "and" else any)([fits_one(part, facts, file) for part in value])
    moment = None if facts.taken is None else facts.taken.at
    if name in ("since", "until", "year", "month", "hour"):
        if moment is None:
            return False
        if name in ("since", "until"):
            # The texts of ISO 8601 sort by time, and a shorter one stands for all that begin with it.
            text = moment.isoformat()[: len(value)]
            return text >= value if name == "since" else text <= value
        number = getattr(moment, name)
        return any(within(number, part, cyclic=name != "year") for part in value.split(","))
    if name in ("camera", "lens"):
        names = [facts.lens] if name == "lens" else [facts.camera, camera_of(facts)]
        if value.startswith("="):
            return any(one is not None and plain(one) == plain(value[1:]) for one in names)
        return any(one is not None and plain(value) in plain(one) for one in names)
    if name in ("near", "box"):
        return facts.place is not None and (is_near if name == "near" else is_in_box)(facts.place, value)
    if name == "rating":
        return facts.rating is not None and within(facts.rating, value, cyclic=False)
    if name == "keyword":
        wanted = f"|{plain(value)}|"
        return any(wanted in f"|{plain(one)}|" for one in facts.keywords)
    if name == "file_format":
        return facts.format in {"JPEG": ("JPEG", "MPO")}.get(value, (value,))
    if name == "path":
        return file == value or file.startswith(f"{value}/")
    if name == "has":
        known = {"camera": facts.camera or facts.make, "keyword": facts.keywords, "lens": facts.lens}
        known |= {"place": facts.place, "rating": facts.rating, "taken": facts.taken}
        return bool(known[value])
    width, height = facts.width, facts.height
    if not width or not height:
        return False
    if name == "orientation":
        return {"landscape": width > height, "portrait": width < height, "square": width == height}[value]
    assert name == "min_size"
    if value.endswith("MP"):
        return width * height >= float(value[:-2]) * 1e6
    sides = sorted(map(int, value.split("x")))
    return sorted((width, height))[0] >= sides[0] and sorted((width, height))[1] >= sides[1]


def within(number: float, text: str, *, cyclic: bool) -> bool:
    first, dots, last = text.partition("..")
    low, high = (float(first or -math.inf), float(last or math.inf)) if dots else (float(text), float(text))
    return low <= number <= high if low <= high or not cyclic else number >= low or number <= high


def plain(text: str) -> str:
    return text.casefold()


def camera_of(facts: Facts) -> str | None:
    if facts.camera and (not facts.make or plain(facts.camera).startswith(plain(facts.make))):
        return facts.camera
    return " ".join(filter(None, (facts.make, facts.camera))) or None


def is_near(there: Place, text: str) -> bool:
    latitude, longitude, km = (float(part) for part in text.split(","))

    def on_sphere(lat: float, lon: float) -> np.ndarray[Any, Any]:
        one, other = math.radians(lat), math.radians(lon)
        return np.array([math.cos(one) * math.cos(other), math.cos(one) * math.sin(other), math.sin(one)])

    chord = float(np.linalg.norm(on_sphere(latitude, longitude) - on_sphere(there.latitude, there.longitude)))
    return 2 * EARTH_KM * math.asin(min(1.0, chord / 2)) <= km + 1e-9


def is_in_box(there: Place, text: str) -> bool:
    south, west, north, east = (float(part) for part in text.split(","))
    if not south <= there.latitude <= north:
        return False
    if abs(there.latitude) == 90:
        return True
    longitudes = {there.longitude} | ({180.0, -180.0} if abs(there.longitude) == 180 else set())
    return any(west <= one <= east if west <= east else one >= west or one <= east for one in longitudes)


@pytest.mark.parametrize("seed", range(8))
def test_random_expressions_over_random_facts_agree_with_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    facts = [made_up(random) for _ in range(150)]
    table = table_of(facts)
    few = many = 0
    for _ in range(150):
        where = some_expression(random, 3)
        expected = [fits_one(where.to_json(), one, file) for one, file in zip(facts, table.paths, strict=True)]
        assert fits(where, table, none_of).tolist() == expected, where
        assert fits(eval(repr(where), NAMES), table, none_of).tolist() == expected, where
        few, many = few + any(expected), many + (not all(expected))
    assert min(few, many) > 50  # else nothing was tried
