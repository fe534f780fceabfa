"""A first look at a library: encode photos once, then ask about them in different ways.

    python examples/first_look.py [PHOTOS]...

Without PHOTOS, files or folders, it looks at the few photographs that come with zsindex. The model is `nano`, which is
built in: nothing is downloaded.
"""

import sys
import tempfile
from pathlib import Path

from zsindex import Library
from zsindex.photos import samples

photos = sys.argv[1:] or samples.photos()

# A library is a folder. Here it goes when the script ends; yours stays, and the next run encodes only what is new.
with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model="nano") as library:
    report = library.sync(photos)
    print(f"{report.encoded} photos encoded")

    # Every photo gets the label that fits best. Scores are probabilities among these labels.
    print("\nWhat is in them?")
    for photo in library.classify(["cat", "person", "rocket", "cup of coffee", "grass", "stars", "document", "camera"]):
        print(f"{photo.score:5.2f}  {photo.label:14} {Path(photo.path).name}")

    # Other labels: only the new words go through the model, no photo does. Every photo gets one of them, even where
    # none fits, as with the stars; `unknown=` of `classify` is for that.
    print("\nThe same photos, by other labels")
    for photo in library.classify(["animal", "food or drink", "vehicle", "plant", "text"], template="a photo of {}."):
        print(f"{photo.score:5.2f}  {photo.label:14} {Path(photo.path).name}")

    # A search ranks all photos by how near they are to some words; a photo can be what is searched with, too.
    print("\nSomething to drink")
    for hit in library.search("something to drink", top=3):
        print(f"{hit.score:5.2f}  {Path(hit.path).name}")

    first = library.photos.paths()[0]
    print(f"\nMore like {Path(first).name}")
    for hit in library.similar(first, top=3):
        print(f"{hit.score:5.2f}  {Path(hit.path).name}")

    status = library.status()
    print(f"\nThe library holds {status.images} photos.")
