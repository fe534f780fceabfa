"""zsindex: encode a photo library once, then ask it anything."""

__version__ = "0.1.0"
