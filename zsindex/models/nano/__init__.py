"""The embedded model `nano`: weights and configuration in open_clip's folder format. README.md is its model card.

`towers/` holds its graphs for `zsindex.models.openvino.assembly`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "open_clip_model.safetensors"
