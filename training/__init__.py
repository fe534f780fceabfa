"""Recipes of the models that zsindex ships. Not installed with it."""
