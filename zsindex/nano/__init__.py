"""The embedded model `nano`: weights and configuration in open_clip's folder format. README.md is its model card."""

from pathlib import Path

FOLDER = Path(__file__).parent
