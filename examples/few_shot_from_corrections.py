"""Few-shot from corrections: say of a few photos what they show, and let the answers for all others learn from it.

    python examples/few_shot_from_corrections.py

Nothing is trained and no photo is encoded again. What is learnt is computed from vectors, in milliseconds, and says of
itself whether it can be trusted yet. The photos here are pieces of five photographs, which are much alike: with real
ones it takes more corrections to gain less.
"""

import tempfile
from pathlib import Path

from PIL import Image

from zsindex import Library
from zsindex.photos import samples

# Labels that mean something to those who made them, and little to a model.
LABELS = {"astronaut": "Eileen", "camera": "MIT 1978", "chelsea": "Chelsea", "coffee": "break", "rocket": "launch day"}
TOLD = 5  # corrections per label


def pieces(folder: Path) -> dict[str, str]:
    """Cut five of the photographs that come with zsindex into 16 pieces each; return the label of each by its path."""
    labels = {}
    for photo in samples.photos():
        if photo.stem not in LABELS:
            continue
        with Image.open(photo) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        for number in range(16):
            left, top = (number % 4) * width // 8, (number // 4) * height // 8
            piece = folder / f"{photo.stem}-{number:02}.jpg"
            image.crop((left, top, left + width * 5 // 8, top + height * 5 // 8)).save(piece)
            labels[str(piece)] = LABELS[photo.stem]
    return labels


with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model="nano") as library:
    truth = pieces(Path(folder))
    library.sync([folder])
    library.labels.save("ours", list(LABELS.values()))

    # Every third piece is corrected, until each label has its few. The others are what we want answers for.
    told: dict[str, str] = {}
    for path, label in list(truth.items())[::3]:
        if list(told.values()).count(label) < TOLD:
            told[path] = label
    others = [path for path in truth if path not in told]

    def right(method: str | None = None) -> float:
        """The share of the others that is answered right: by the words alone, or with corrections by a method."""
        answers = library.classify(label_set="ours", paths=others, with_corrections=method)
        return sum(answer.label == truth[answer.path] for answer in answers) / len(others)

    print(f"by the words alone: {right():.0%} of {len(others)} photos are right")

    # A correction belongs to the content of a photo and to the name of the label set: it outlives moves, other models
    # and other versions of the labels. All of these are one step, which corrections.undo("ours") takes back.
    library.corrections.add_all("ours", [(path, label, False) for path, label in told.items()])
    print(f"after {len(told)} corrections: {right('logistic'):.0%}")

    # Judged from the corrections alone, each left out in turn: this is known also where nobody knows the truth.
    learned = library.classify(label_set="ours", with_corrections="logistic").learned
    if learned is not None and learned.gain is not None and learned.interval is not None:
        low, high = learned.interval
        print(f"it says itself: {learned.gain:+.0%} (95 %: {low:+.0%} to {high:+.0%})")
        for doubt in learned.doubts:
            print(f"  not to be trusted yet: {doubt}")

    print("\nWhat to correct next")
    for suggestion in library.corrections.next("ours", 3):
        print(f"  {Path(suggestion.path).name}: {suggestion.label} or {suggestion.second}?")
