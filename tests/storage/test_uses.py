"""Every storage: which prompts go when there are too many, and which do not: by use, in whatever state the clock is."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection

import numpy as np
import pytest

from tests.fakes import DIM
from tests.libraries import digest_of, fake_info, unit_vectors
from tests.libraries import photo as seen
from zsindex.storage import uses
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import NO_PROMPTS, CorrectionEntry, Forgettable, ImageRecord, ModelRow

DAY = 20_000
VECTOR = unit_vectors(1)[0]


class Clock:
    """Days, as a test says."""

    def __init__(self) -> None:
        self.day = DAY

    def __call__(self) -> int:
        return self.day


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(uses, "today", clock)
    return clock


@pytest.fixture(autouse=True)
def ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten prompts are kept, so that nine are left when one more comes."""
    monkeypatch.setenv("ZSINDEX_PROMPTS", "10")


def save(storage: Storage, model: ModelRow, *texts: str) -> int:
    vectors = unit_vectors(len(texts), seed=len(texts[0]))
    return storage.reads.save_prompts(texts, vectors, model.id, truncated=[False] * len(texts))


def ask(storage: Storage, model: ModelRow, *texts: str) -> set[str]:
    return set(storage.reads.prompt_vectors(texts, model, truncated=False))


def held(storage: Storage, model: ModelRow, texts: Collection[str]) -> set[str]:
    """Which are there, without asking for them."""
    reader = storage.again(read_only=True)
    found = set(reader.reads.prompt_vectors(texts, model, truncated=False))
    reader.close()
    return found


TEXTS = [f"{n:02}" for n in range(20)]


def test_those_go_that_were_not_asked_for_for_the_longest(storage: Storage, model: ModelRow, clock: Clock) -> None:
    save(storage, model, *TEXTS[:10])
    clock.day += 1
    assert ask(storage, model, "00", "03") == {"00", "03"}
    assert save(storage, model, "10") == 2
    assert held(storage, model, TEXTS) == {"00", "03", *TEXTS[4:11]}


def test_a_use_is_recorded_once_a_day(storage: Storage, model: ModelRow, clock: Clock) -> None:
    save(storage, model, *TEXTS[:3])
    ask(storage, model, *TEXTS)
    assert storage.reads.record_uses() == 0
    clock.day += 1
    for _ in range(3):
        ask(storage, model, "01", "02", "unknown")
    assert storage.reads.record_uses() == 2
    ask(storage, model, "00", "01", "02")
    assert storage.reads.record_uses() == 1
    assert storage.reads.record_uses() == 0


def test_who_may_only_read_records_nothing(reader: Storage, storage: Storage, model: ModelRow, clock: Clock) -> None:
    save(storage, model, "00")
    clock.day += 1
    assert ask(reader, model, "00") == {"00"}
    assert reader.reads.record_uses() == 0
    ask(storage, model, "00")
    assert storage.reads.record_uses() == 1


def test_prompts_of_saved_label_sets_stay_whatever_the_limit(storage: Storage, model: ModelRow, clock: Clock) -> None:
    kept = [f"kept {n}" for n in range(15)]
    storage.labels.save_label_set("x", {"labels": {"a": kept[:10]}, "negatives": {"a": kept[10:]}})
    storage.labels.save_label_set("x", {"labels": {"a": ["another"]}})
    save(storage, model, *kept)
    clock.day += 400
    assert save(storage, model, *TEXTS[:2]) == 2
    assert held(storage, model, [*kept, *TEXTS]) == set(kept)


def test_what_was_stored_last_stays_whatever_the_clock_says(storage: Storage, model: ModelRow, clock: Clock) -> None:
    save(storage, model, *TEXTS[:10])
    for n, day in enumerate((90_000, 0, -5, DAY, 50_000, 1), start=10):
        clock.day = day
        ask(storage, model, "00")
        save(storage, model, TEXTS[n])
        assert {"00", *TEXTS[10 : n + 1]} <= held(storage, model, TEXTS), day


def test_two_that_fill_it_in_turns_do_not_drive_each_other_out_by_a_clock_set_back(
    storage: Storage, other: Storage, model: ModelRow, clock: Clock
) -> None:
    clock.day = 90_000
    save(storage, model, *TEXTS[:10])
    clock.day = DAY
    save(storage, model, "10")
    save(other, model, "11")
    assert {"10", "11"} <= held(storage, model, TEXTS)
    assert save(storage, model, "10") == save(other, model, "11") == 0


def test_a_question_larger_than_the_limit_is_kept_in_part(storage: Storage, model: ModelRow, clock: Clock) -> None:
    save(storage, model, *TEXTS[:5])
    assert save(storage, model, *TEXTS[5:20]) == 11
    assert held(storage, model, TEXTS) == set(TEXTS[11:20])


def test_the_limit_is_of_all_models_together(storage: Storage, model: ModelRow, clock: Clock) -> None:
    second = storage.photos.add_model(fake_info("second"), make_default=False)
    save(storage, model, *TEXTS[:6])
    save(storage, second, *TEXTS[:6])
    assert (len(held(storage, model, TEXTS)), len(held(storage, second, TEXTS))) == (3, 6)


def test_uses_are_recorded_beside_others_or_not_at_all(storage: Storage, other: Storage, model: ModelRow) -> None:
    """Of threads that ask, store and record, nobody fails, and the limit holds."""
    wrong: list[BaseException] = []

    def work(handle: Storage, seed: int) -> None:
        try:
            for n in range(30):
                ask(handle, model, *TEXTS)
                handle.reads.record_uses()
                save(handle, model, f"{seed} {n}")
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(h, n)) for n, h in enumerate((storage, other, storage))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert storage.photos.model_sizes(model)["prompts"] <= 10


@pytest.mark.parametrize("seed", range(4))
def test_at_random_nothing_is_lost_that_may_not_be(
    storage: Storage, other: Storage, model: ModelRow, clock: Clock, seed: int
) -> None:
    """Questions and label sets, each on a day that has nothing to do with the one before: those go that were used the
    longest ago, and what comes back is right.
    """
    chance = random.Random(seed)
    vectors = dict(zip(TEXTS, unit_vectors(len(TEXTS)), strict=True))
    used: dict[str, int] = {}  # in which round, of those that are there
    saved: set[str] = set()
    for turn, day in enumerate(chance.sample(range(90_000), 60)):
        clock.day = day
        texts = chance.sample(TEXTS, chance.randint(1, 4))
        if chance.random() < 0.05:
            storage.labels.save_label_set("set", {"labels": {"a": texts[:2]}})
            saved.update(texts[:2])
        found = storage.reads.prompt_vectors(texts, model, truncated=False)
        assert set(found) == set(texts) & set(used)
        assert all(np.array_equal(found[text], vectors[text]) for text in found)
        if chance.random() < 0.2:
            other.reads.prompt_vectors(texts, model, truncated=False)  # and is closed without a word
        new = [text for text in texts if text not in found]
        n_gone = 0
        if new:
            rows = np.stack([vectors[text] for text in new])
            n_gone = storage.reads.save_prompts(new, rows, model.id, truncated=[False] * len(new))
        else:
            assert storage.reads.record_uses() == len(texts)
        used |= dict.fromkeys(texts, turn)
        there = held(storage, model, TEXTS)
        gone = {text: used.pop(text) for text in used.keys() - there}
        assert used.keys() == there
        assert len(gone) == n_gone
        assert not gone.keys() & saved
        may_go = [round_ for text, round_ in used.items() if text not in saved]
        assert max(gone.values(), default=0) <= min(may_go, default=turn)
        assert len(used) <= max(10, 9 + len(saved))


# --- by age, and what prune forgets -----------------------------------------------------------------------------------


def forgotten(storage: Storage, model: ModelRow, there: Collection[str], days: int) -> set[str]:
    storage.photos.make_room(prompt_days=days, upload_bytes=1 << 30)
    return set(there) - held(storage, model, there)


def test_prompts_that_nobody_asked_for_in_so_many_days_go(storage: Storage, model: ModelRow, clock: Clock) -> None:
    save(storage, model, *TEXTS[:5])
    storage.labels.save_label_set("x", {"labels": {"a": ["03"]}})
    for _ in range(5):
        clock.day += 6
        ask(storage, model, "01", "02")
        storage.reads.record_uses()
    assert forgotten(storage, model, TEXTS[:5], 30) == set()
    clock.day += 1
    assert storage.photos.make_room(prompt_days=30, upload_bytes=1 << 30) == {"prompts": 2, "images": 0}
    assert held(storage, model, TEXTS) == {"01", "02", "03"}


def test_neither_a_library_that_was_put_away_loses_prompts_nor_one_under_a_wrong_clock(
    storage: Storage, model: ModelRow, clock: Clock
) -> None:
    save(storage, model, *TEXTS[:5])
    for day in (DAY + 4000, DAY - 4000, DAY + 90_000, DAY):
        clock.day = day
        assert forgotten(storage, model, TEXTS[:5], 30) == set()
        ask(storage, model, "00")
        assert storage.reads.record_uses() == 1
        assert storage.reads.record_uses() == 0
    # Two gaps that count as a week each, and two steps back that count as a day.
    assert forgotten(storage, model, TEXTS[:5], 16) == set()
    assert forgotten(storage, model, TEXTS[:5], 15) == {"01", "02", "03", "04"}


@pytest.mark.parametrize(
    ("which", "gone"),
    [
        (NO_PROMPTS, set()),
        (Forgettable(every=True), {"00", "01", "02", "04"}),
        (Forgettable(unused_days=6), {"00", "02"}),
        (Forgettable(unused_days=7), set()),
        (Forgettable(most=4), {"00"}),
        (Forgettable(most=0), {"00", "01", "02", "04"}),
        (Forgettable(unused_days=6, most=2), {"00", "01", "02"}),
    ],
)
def test_prune_forgets_what_is_asked_and_says_how_much(
    storage: Storage, model: ModelRow, clock: Clock, which: Forgettable, gone: set[str]
) -> None:
    storage.labels.save_label_set("x", {"labels": {"a": ["03"]}})
    save(storage, model, "00", "02", "03")
    clock.day += 10
    save(storage, model, "01", "04")
    plan = storage.photos.prunable(prompts=which)
    assert storage.photos.prune(prompts=which) == plan
    assert (plan["prompts"], plan["prompt_bytes"]) == (len(gone), len(gone) * (4 * DIM + uses.BESIDE_TEXT + 4))
    assert held(storage, model, TEXTS) == {"00", "01", "02", "03", "04"} - gone


# --- images that no file shows ----------------------------------------------------------------------------------------


def upload(storage: Storage, model: ModelRow, *names: str) -> None:
    records = [
        ImageRecord(digest_of(name), 1, 1, "JPEG", vector)
        for name, vector in zip(names, unit_vectors(len(names)), strict=True)
    ]
    storage.photos.save_images(records, model.id)


def test_images_of_no_file_go_when_they_take_too_much(storage: Storage, model: ModelRow) -> None:
    """Those first that came first, and never a photo, nor what somebody has said something about."""
    storage.photos.save([seen("/photos/1", "mine", VECTOR), seen("/photos/2", "gone", VECTOR)], model.id)
    storage.photos.mark_missing("/photos", ["2"])
    names = [f"upload {n}" for n in range(10)]
    upload(storage, model, *names)
    storage.labels.add_corrections("x", [CorrectionEntry(digest_of("upload 0"), "a", False)])
    each = 4 * DIM
    generation = storage.reads.generation(model.id)
    assert storage.photos.make_room(upload_bytes=10 * each) == {"prompts": 0, "images": 0}
    assert storage.reads.generation(model.id) == generation
    assert storage.photos.sizes()["uploads"] == (10, 10 * each)
    upload(storage, model, "upload 10")
    assert storage.photos.make_room(upload_bytes=10 * each) == {"prompts": 0, "images": 2}
    assert storage.reads.generation(model.id) == generation + 1
    digests = {digest_of(name): name for name in [*names, "upload 10", "mine", "gone"]}
    there = {digests[digest] for digest in storage.reads.image_vectors(digests, model)}
    assert there == set(digests.values()) - {"upload 1", "upload 2"}
    assert storage.photos.sizes()["uploads"] == (9, 9 * each)
    assert storage.photos.sizes()["vanished"] == (1, each)
    assert storage.problems() == []


def test_what_a_file_showed_before_counts_as_of_no_file(storage: Storage, model: ModelRow) -> None:
    each = 4 * DIM
    storage.photos.make_room(upload_bytes=1)  # counts them once
    for n in range(12):
        storage.photos.save([seen("/photos/1", f"version {n}", VECTOR)], model.id)
        storage.photos.make_room(upload_bytes=4 * each)
        count, size = storage.photos.sizes()["uploads"]
        assert count * each == size <= 4 * each
    assert storage.photos.has_vector(digest_of("version 11"), model.id)
