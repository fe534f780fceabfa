"""The label lab: which words work. Each module is one method over cached vectors, in plain numpy; docs/methods.md has
their sources.
"""
