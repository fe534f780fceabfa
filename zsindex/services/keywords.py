"""Which keywords people gave the photos of a library: without those that zsindex wrote into sidecars."""

from __future__ import annotations

from zsindex.session.session import Session

_AT_A_TIME = 500
# The property whose levels have slashes between them; facts have ``|`` there.
_WITH_SLASHES = "digiKam:TagsList"


def people_gave(session: Session) -> dict[str, list[str]]:
    """Keywords by path, of photos that have any."""
    table = session.facts.table()
    found = {path: list(words) for row, path in enumerate(table.paths) if (words := table.keywords.of(row))}
    ours = _written(session)
    if ours:
        images = dict(zip(table.paths, table.image_ids.tolist(), strict=True))
        beside = {path: both for path in found if not ours.keys().isdisjoint(both := _beside(path))}
        content = session.storage.photos.facts_of({images[path] for path in beside})
        told = session.storage.photos.facts_of_sidecars([sidecar for both in beside.values() for sidecar in both])
        for path, sidecars in beside.items():
            # By what each says: a person may have written into one what zsindex wrote into the other.
            kept = list(content[images[path]].keywords) if images[path] in content else []
            for sidecar in sidecars:
                if sidecar in told:
                    written = ours.get(sidecar, set())
                    kept += [word for word in told[sidecar].keywords if word not in written]
            found[path] = list(dict.fromkeys(kept))
    return {path: words for path, words in found.items() if words}


def _written(session: Session) -> dict[str, set[str]]:
    """What zsindex wrote, by the paths of sidecars; hierarchies as facts have them."""
    labels = session.storage.labels
    paths = labels.sidecar_paths()
    found: dict[str, set[str]] = {}
    for start in range(0, len(paths), _AT_A_TIME):
        for path, sidecar in labels.sidecars(paths[start : start + _AT_A_TIME]).items():
            found[path] = {
                text.replace("/", "|") if name == _WITH_SLASHES else text
                for name, texts in sidecar.tags["added"].items()
                for text in texts
            }
    return found


def _beside(photo: str) -> list[str]:
    """Paths of a photo's sidecars."""
    from zsindex.lab.tags import STYLES, sidecar_of

    return [sidecar_of(photo, style) for style in STYLES]
