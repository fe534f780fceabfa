"""Towers without torch: exported once on each machine (`export`, `assembly`), run by OpenVINO (`runtime`)."""
