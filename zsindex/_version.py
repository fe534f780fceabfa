"""The version, which all rooms may ask for: `zsindex` itself lies above them."""

__version__ = "0.1.0"
