"""What codecs refuse, in our words: whatever they raise as an `ImageError`, and Pillow's own limit out of the way."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from zsindex.errors import ImageError
from zsindex.photos import containers
from zsindex.records import SkipReason


class _PillowLimit:
    """Pillow's own pixel limit, held out of the way while an image is decoded that the caller's limit allows.

    Some drivers check `Image.MAX_IMAGE_PIXELS`, a process-wide setting, again as they load, so that a higher limit of
    ours has no effect unless that one goes up, too. It does so only for callers that ask for more than it allows, and
    is put back when the last of them has finished; decoding in several threads is not serialised by it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._own: int | None = None

    @contextmanager
    def at_least(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            own = self._own if self._inside else Image.MAX_IMAGE_PIXELS
            raised = own is not None and max_pixels > own
            if raised:
                self._own = own
                self._inside += 1
                Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            if raised:
                with self._lock:
                    self._inside -= 1
                    if self._inside == 0:
                        Image.MAX_IMAGE_PIXELS = self._own


pillow_limit = _PillowLimit()


@contextmanager
def codec_errors(data: bytes = b"") -> Iterator[None]:
    """Turn whatever a codec raises into an `ImageError`.

    Args:
        data: what it was given, to tell whether that is cut short.
    """
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # from drivers that check for themselves
        detail = f"it claims more pixels than the limit allows; ZSINDEX_MAX_PIXELS raises it ({_words(error)})"
        raise ImageError(SkipReason.TOO_MANY_PIXELS, detail) from error
    except MemoryError as error:
        raise ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory to decode it") from error
    except Exception as error:
        # Codecs fed with damaged data raise what happens to come up: OSError, ValueError, SyntaxError, struct.error,
        # KeyError, ZeroDivisionError, OverflowError, RuntimeError, LibRaw's own. No list of them would stay complete,
        # and one bad photo must not stop a sync. Only codecs run inside this context.
        raise failure_of(data, error) from error


def failure_of(data: bytes, error: Exception, *, in_header: bool = False, name: str | None = None) -> ImageError:
    """What a codec's exception means to somebody who wants to know what is wrong with the file.

    Args:
        name: of the format; by default what the file begins like.
    """
    words = _words(error)
    in_its_words = f" ({words})" if words else ""
    name = name or containers.name_of(data)
    if containers.is_cut_short(data, str(error)):
        return ImageError(SkipReason.TRUNCATED, f"the {name} is cut short{in_its_words}")
    if in_header and name in ("TIFF", "BigTIFF"):
        detail = f"the {name} is of a kind that Pillow cannot read, or damaged{in_its_words}"
        return ImageError(SkipReason.UNSUPPORTED, detail)
    if in_header and name != "image":
        return ImageError(SkipReason.DECODE_FAILED, f"it begins like {name}, but its header is damaged{in_its_words}")
    return ImageError(SkipReason.DECODE_FAILED, f"the data of the {name} is damaged{in_its_words}")


# Of a codec's own words in a reason, in letters.
_MOST_WORDS = 200
# What Python says of a codec's own mistakes on damaged files, which says nothing of the file.
_MISTAKES = (IndexError, KeyError, TypeError, AttributeError, struct.error)
_SAYS_NOTHING = (
    "not identified by this driver",
    "decoder error",
    "Missing dimensions",
    "index out of range",
    "invalid literal for int()",
    "requires a buffer of",
)


def _words(error: Exception) -> str:
    """A codec's own words on one line, with the exception's name where it is none of the usual ones; or nothing."""
    first = error.args[0] if error.args else ""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_MOST_WORDS]
    if any(words in text for words in _SAYS_NOTHING):
        return ""
    if isinstance(error, _MISTAKES) or " " not in text:
        return type(error).__name__
    return text if isinstance(error, (OSError, SyntaxError, ValueError)) else f"{type(error).__name__}: {text}"
