"""How well `Library.events` finds events and bursts, against a truth that is made. Prints Markdown tables.

    python benchmarks/events.py [IMAGENET_SAMPLE] [CLOTHING] [--timelines 20] [--model MODEL]

There is no public album here whose owner has said which photos belong together, nor a camera trap's series, so photos
are real and times are made. Each photo is a scene; about a third of them become a burst: two to eight shots, each
shifted, cropped, turned and exposed anew, some of them blurred. Scenes of one kind follow one another, as they do in
albums. Events have heavy-tailed numbers of scenes, paces between a scene in ten seconds and one in twenty minutes,
heavy-tailed gaps within, and heavy-tailed gaps between them. Half of the events say where they were; some of those are
journeys.

The photos of one half choose the values, those of the other half are reported. One timeline is written into the photos
as EXIF and goes through a sync; the others have the same photos at other times.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from tabulate import tabulate

from zsindex import Library
from zsindex.lab import events as lab
from zsindex.lab.events import Rule
from zsindex.records import IdArray
from zsindex.services.timeline import Timeline

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
SIDE = 512
BURSTS = 0.35
JOURNEYS = 0.2
EPOCH = datetime(1970, 1, 1)

FACTORS, AROUND = (8, 12, 17, 25, 40, 60, 100), (3, 5, 10, 20)
SHORTEST_S, LONGEST_H, NEAR_KM = (1, 30, 60, 120, 300), (4, 8, 12, 24), (0.5, 1, 5, 20, 1e9)
FIXED_H = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12)
BURST_S = (1, 2, 3, 5, 8, 10, 15, 20, 30, 60)
COSTS_LITTLE = 0.02
COSINES = (-1, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Shot:
    """A photo that was made: of which scene, and whether it was blurred."""

    path: Path
    scene: int
    blurred: bool


@dataclass(frozen=True)
class Made:
    """Shots in the order in which they were taken, and the truth. Arrays have a place for each."""

    shots: npt.NDArray[np.int64]
    taken_us: IdArray
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    events: IdArray
    bursts: IdArray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT))
    parser.add_argument("sample", nargs="?", default=beside, type=Path, help="default: %(default)s")
    parser.add_argument(
        "clothing", nargs="?", default=beside.parent / "clothing", type=Path, help="default: %(default)s"
    )
    parser.add_argument("--timelines", type=int, default=20, help="per half (default: %(default)s)")
    parser.add_argument("--model", help="default: nano")
    options = parser.parse_args()
    found = [path for folder in (options.sample, options.clothing) for path in sorted(folder.rglob("*.[jJ][pP]*[gG]"))]
    if not found:
        parser.error(f"no photos in {options.sample} and {options.clothing}")
    random.Random(0).shuffle(found)
    with tempfile.TemporaryDirectory() as folder:
        for name, half in (("choosing", found[::2]), ("reported", found[1::2])):
            # Kinds follow one another; that of ImageNet is part of the name.
            half.sort(key=lambda path: (path.parent.name, path.name))
            shots = list(_shots(half, Path(folder, name), random.Random(name)))
            if name == "choosing":
                chosen = _choose(shots, Path(folder, name), options.timelines, options.model)
            else:
                _report(chosen, shots, Path(folder, name), options.timelines, options.model)


# --- what is made -----------------------------------------------------------------------------------------------------


def _shots(scenes: Sequence[Path], folder: Path, rng: random.Random) -> Iterator[Shot]:
    folder.mkdir()
    for scene, source in enumerate(scenes):
        with Image.open(source) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        n = min(8, 2 + int(rng.expovariate(0.5))) if rng.random() < BURSTS else 1
        sharp = rng.randrange(n)
        for number in range(n):
            blurred = number != sharp and rng.random() < 0.4
            shown = _taken_again(image, rng) if n > 1 else image
            if blurred:
                shown = shown.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 3.0)))
            path = folder / f"{scene:04}-{number}.jpg"
            shown.save(path, quality=90)
            yield Shot(path, scene, blurred)


def _taken_again(image: Image.Image, rng: random.Random) -> Image.Image:
    """The same scene in another moment: a hand that moved, another exposure."""
    width, height = image.size
    turned = image.rotate(rng.uniform(-2, 2), Image.Resampling.BICUBIC)
    kept = rng.uniform(0.86, 0.94)
    left, top = (rng.uniform(0.02, 0.98 - kept) for _ in range(2))
    box = (left * width, top * height, (left + kept) * width, (top + kept) * height)
    cut = turned.resize(image.size, Image.Resampling.BICUBIC, box=box)
    return ImageEnhance.Brightness(cut).enhance(2 ** rng.uniform(-0.5, 0.5))


def _timeline(shots: Sequence[Shot], seed: str) -> Made:
    rng = random.Random(seed)
    by_scene: dict[int, list[int]] = {}
    for number, shot in enumerate(shots):
        by_scene.setdefault(shot.scene, []).append(number)
    scenes = list(by_scene)
    start = rng.randrange(len(scenes))
    scenes = scenes[start:] + scenes[:start]
    at, order, taken, event_of, places = 1.5e9, [], [], [], []
    event = -1
    left = 0
    for scene in scenes:
        if not left:
            event += 1
            left = max(1, min(80, int(rng.paretovariate(0.9) * 2)))
            at += 2400 * rng.paretovariate(0.45) if event else 0  # from 40 minutes; half of them within 3 hours
            at = min(at, taken[-1] + 60 * 86400) if taken else at
            pace = np.exp(rng.uniform(np.log(10), np.log(1200)))
            here = (rng.uniform(-60, 60), rng.uniform(-180, 180)) if rng.random() < 0.2 or not places else None
            place = here or _moved(places[-1][:2], rng.uniform(0, 20), rng)
            knows = rng.random() < 0.5
            speed = rng.uniform(10, 100) / 3600 if rng.random() < JOURNEYS else 0.0
        else:
            gap = min(rng.lognormvariate(np.log(pace), 1.0), 3 * 3600)
            at += gap
            place = _moved(place, gap * speed, rng)
        left -= 1
        for number, shot in enumerate(by_scene[scene]):
            if number:
                at += rng.expovariate(1 / 1.5) if rng.random() < 0.8 else rng.uniform(3, 12)
            order.append(shot)
            taken.append(at)
            event_of.append(event)
            places.append((*place, knows))
    known = np.array([knows for *_, knows in places])
    latitude, longitude = (np.where(known, [one[axis] for one in places], np.nan) for axis in range(2))
    scene_of = np.array([shots[number].scene for number in order])
    return Made(
        np.array(order), (np.array(taken) * 1e6).astype(np.int64), latitude, longitude, np.array(event_of), scene_of
    )


def _moved(place: tuple[float, float], km: float, rng: random.Random) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    latitude = float(np.clip(place[0] + km / 111 * np.sin(angle), -80, 80))
    return latitude, (place[1] + km / 111 * np.cos(angle) / np.cos(np.radians(latitude)) + 180) % 360 - 180


def _write(shots: Sequence[Shot], made: Made) -> None:
    """The times and places of a timeline into the photos."""
    for number, us, latitude, longitude in zip(
        made.shots, made.taken_us.tolist(), made.latitude.tolist(), made.longitude.tolist(), strict=True
    ):
        at = EPOCH + timedelta(microseconds=us)
        with Image.open(shots[number].path) as image:
            exif = image.getexif()
            exif.get_ifd(0x8769).update({0x9003: f"{at:%Y:%m:%d %H:%M:%S}", 0x9291: f"{at.microsecond:06}"})
            if not np.isnan(latitude):
                exif.get_ifd(0x8825).update({
                    1: "N" if latitude >= 0 else "S", 2: (abs(latitude), 0.0, 0.0),
                    3: "E" if longitude >= 0 else "W", 4: (abs(longitude), 0.0, 0.0),
                })  # fmt: skip
            image.save(shots[number].path, exif=exif, quality="keep")


# --- what is found ----------------------------------------------------------------------------------------------------


@dataclass
class Half:
    """Photos of a half, encoded, at several times."""

    shots: list[Shot]
    vectors: npt.NDArray[np.float32]
    timelines: list[Made]


def _half(library: Library, shots: list[Shot], folder: Path, timelines: int) -> Half:
    made = [_timeline(shots, f"{folder.name} {number}") for number in range(timelines)]
    _write(shots, made[0])
    library.sync(folder)
    view = library.view()
    vectors = view.take([view.index_of[str(shot.path)] for shot in shots])
    return Half(shots, vectors, made)


def _events(made: Made, rule: Rule) -> IdArray:
    return np.cumsum(lab.event_starts(made.taken_us, made.latitude, made.longitude, rule)) - 1


def _fixed(made: Made, hours: float) -> IdArray:
    return np.cumsum(np.concatenate(([0], np.diff(made.taken_us) / 3.6e9 >= hours)))


def _bursts(half: Half, made: Made, rule: Rule) -> IdArray:
    vectors = half.vectors[made.shots]

    def cosines(before: IdArray, after: IdArray) -> npt.NDArray[np.float64]:
        return np.einsum("nd,nd->n", vectors[before], vectors[after]).astype(np.float64)

    return lab.bursts(made.taken_us, _events(made, rule), np.zeros(len(made.shots), dtype=np.int64), cosines, rule)


def _pairs(groups: IdArray) -> float:
    counts = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def _agreement(found: Sequence[IdArray], truth: Sequence[IdArray]) -> tuple[float, float, float]:
    """Precision, recall and F1 over all pairs of photos that are in one group, of all timelines together."""
    both = sum(_pairs(f.astype(np.int64) * (len(t) + 1) + t) for f, t in zip(found, truth, strict=True))
    precision, recall = both / max(1, sum(map(_pairs, found))), both / max(1, sum(map(_pairs, truth)))
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def _of_events(half: Half, group: Callable[[Made], IdArray]) -> tuple[float, float, float]:
    return _agreement([group(made) for made in half.timelines], [made.events for made in half.timelines])


def _of_bursts(half: Half, rule: Rule) -> tuple[float, float, float]:
    return _agreement([_bursts(half, made, rule) for made in half.timelines], [made.bursts for made in half.timelines])


def _choose(shots: list[Shot], folder: Path, timelines: int, model: str | None) -> tuple[Rule, float]:
    with Library.open(folder.parent / "library 1", model=model) as library:
        half = _half(library, shots, folder, timelines)
    grid = itertools.product(FACTORS, AROUND, SHORTEST_S, LONGEST_H, NEAR_KM)
    rules = [Rule(factor, around, shortest, hours * 3600, km) for factor, around, shortest, hours, km in grid]
    ranked = sorted(rules, key=lambda rule: -_of_events(half, lambda made: _events(made, rule))[2])
    best = ranked[0]
    fixed = max(FIXED_H, key=lambda hours: _of_events(half, lambda made: _fixed(made, hours))[2])
    bursts = [replace(best, burst_s=s, burst_cosine=cosine) for s in BURST_S for cosine in COSINES]
    f1 = {rule: _of_bursts(half, rule)[2] for rule in bursts}
    best = max(f1, key=lambda rule: f1[rule])
    # The scenes of a real event are more alike than those that were put together here: the strictest that costs little.
    same = [rule for rule in bursts if rule.burst_s == best.burst_s and f1[rule] >= f1[best] - COSTS_LITTLE]
    best = max(same, key=lambda rule: rule.burst_cosine)
    print(f"{len(shots):,} shots of {shots[-1].scene + 1:,} scenes chose\n\n    {best}\n\nand {fixed:g} hours.\n")
    rows = [(_named(rule), *_of_events(half, lambda made, rule=rule: _events(made, rule))) for rule in ranked[:5]]
    rows.append(("as zsindex has it", *_of_events(half, lambda made: _events(made, Rule()))))
    _print(["events, the half that chose", "precision", "recall", "F1"], rows)
    _print(
        ["bursts, the half that chose", *(f"{cosine:g}" for cosine in COSINES)],
        [(f"{s:g} s", *(f1[replace(best, burst_s=s, burst_cosine=c)] for c in COSINES)) for s in BURST_S],
    )
    return best, fixed


def _named(rule: Rule) -> str:
    return f"{rule.factor:g}, {rule.around}, {rule.shortest_s:g} s, {rule.longest_s / 3600:g} h, {rule.near_km:g} km"


def _report(chosen: tuple[Rule, float], shots: list[Shot], folder: Path, timelines: int, model: str | None) -> None:
    best, fixed = chosen
    with Library.open(folder.parent / "library 2", model=model) as library:
        half = _half(library, shots, folder, timelines)
        made = half.timelines[0]
        view = library.view()
        library_paths, grouped = view.paths, Timeline(library.session).grouped(view, rule=best)
        ways = {
            "first": [group[0] for group in lab.members(lab.numbered(made.bursts)) if len(group) > 1],
            "no look": _best(library, half, look=False),
            "look": _best(library, half, look=True),
        }
    own = Rule()
    n_events = sum(int(made.events[-1]) + 1 for made in half.timelines)
    print(f"Reported: {len(shots):,} shots, {len(half.timelines)} timelines with {n_events:,} events.\n")
    platt = Rule(17, 10, 1, float("inf"), 1e9)
    rows = [
        ("zsindex", *_of_events(half, lambda made: _events(made, own))),
        ("the chosen values", *_of_events(half, lambda made: _events(made, best))),
        ("without places", *_of_events(half, lambda made: _events(made, replace(own, near_km=1e9)))),
        ("PhotoTOC", *_of_events(half, lambda made: _events(made, platt))),
        (f"a gap of {fixed:g} h", *_of_events(half, lambda made: _fixed(made, fixed))),
    ]
    _print(["events", "precision", "recall", "F1"], rows)
    rows = [
        ("zsindex", *_of_bursts(half, own)),
        ("the chosen values", *_of_bursts(half, best)),
        ("time alone", *_of_bursts(half, replace(own, burst_cosine=-1))),
    ]
    _print(["bursts", "precision", "recall", "F1"], rows)
    paths = [str(shots[number].path) for number in made.shots]
    place = {path: number for number, path in enumerate(paths)}
    order = [place[library_paths[number]] for number in grouped.numbers.tolist()]
    same = (_events(made, best)[order] == grouped.events).all() and order == sorted(order)
    print(f"Through EXIF and a sync the same groups come out: {'yes' if same else 'no'}.\n")
    rows = []
    for name, chosen_shots in ways.items():
        blurred = [shots[made.shots[i]].blurred for i in chosen_shots] if name == "first" else [
            shot.blurred for shot in chosen_shots
        ]  # fmt: skip
        rows.append((name, len(blurred), 1 - sum(blurred) / max(1, len(blurred))))
    everything = [shot.blurred for shot in shots if any(o.scene == shot.scene and o is not shot for o in shots)]
    rows.append(("any", len(everything), 1 - sum(everything) / len(everything)))
    _print(["best of a burst", "bursts", "sharp"], rows)


def _best(library: Library, half: Half, *, look: bool) -> list[Shot]:
    by_path = {str(shot.path): shot for shot in half.shots}
    found = library.events(vocabulary=None, look=look)
    return [by_path[burst.best] for event in found.events for burst in event.bursts if len(burst.photos) > 1]


def _print(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(tabulate(rows, header, tablefmt="github", floatfmt=".3f"), end="\n\n")


if __name__ == "__main__":
    main()
