"""A label-set experiment: save a label set, check it, word it better, and see which answers change.

    python examples/label_set_experiment.py

Photos are vectors already, so that trying other words costs next to nothing. Here the photos are the few that come with
zsindex, cut into overlapping pieces: enough of them that shares mean something.
"""

import tempfile
from pathlib import Path

from PIL import Image

from zsindex import Library
from zsindex.photos import samples

# What people might call the photographs at first, and a second try. A label may have several prompts, whose vectors are
# averaged; what is shown in answers is the label, whatever its prompts say.
FIRST = {
    "astronaut": ["astronaut"],
    "camera": ["apparatus"],
    "chelsea": ["tabby"],
    "kitten": ["tabby cat"],
    "coffee": ["refreshment"],
    "grass": ["verdure"],
    "hubble_deep_field": ["firmament"],
    "page": ["page"],
    "rocket": ["rocket"],
}
SECOND = {
    "astronaut": ["astronaut"],
    "camera": ["a man with a camera", "a camera on a tripod"],
    "chelsea": ["a cat"],
    "coffee": ["a cup of coffee"],
    "grass": ["grass", "a lawn"],
    "hubble_deep_field": ["stars", "a galaxy"],
    "page": ["page"],
    "rocket": ["rocket"],
}


def pieces(folder: Path) -> dict[str, str]:
    """Cut each photograph into nine pieces; return what each piece shows, by its path."""
    shows = {}
    for photo in samples.photos():
        with Image.open(photo) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        for number in range(9):
            left, top = (number % 3) * width // 6, (number // 3) * height // 6
            piece = folder / f"{photo.stem}-{number}.jpg"
            image.crop((left, top, left + width * 2 // 3, top + height * 2 // 3)).save(piece)
            shows[str(piece)] = photo.stem
    return shows


with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model="nano") as library:
    truth = pieces(Path(folder))
    library.sync([folder])

    # Saving under a name that is taken makes a new version; things@1 stays what it was.
    library.labels.save("things", FIRST)
    library.labels.save("things", SECOND)

    # Lint needs no truth: it finds labels that coincide, that win nothing or nearly everything.
    print("What lint says of the first words")
    for finding in library.lab.lint("things@1").findings:
        print(f"  {finding.severity}: {finding.kind}: {' | '.join(finding.words)}")

    # Which photos get another answer with the better words?
    diff = library.lab.diff("things@1", "things@2")
    print(f"\n{len(diff.flipped)} of {len(diff)} photos get another answer")
    for flow in diff.flows[:5]:
        print(f"  {flow.photos:2} from {flow.before} to {flow.after}")

    # Where the truth is known, it says which words are right more often, with an interval that says how sure that is.
    print("\nHow many answers are right, with intervals of 95 %")
    for report in library.lab.evaluate("things@1", truth, against=["things@2"]).reports:
        top1 = report.summary["top1"]
        print(f"  {report.name}: {top1.value:.0%} ({top1.low:.0%} to {top1.high:.0%})")
