"""What the parts of a library share: its storage, the model it is asked with, the index of that, and the clock.

A part in `zsindex.services` is given a `Session` and never sees a `Library`. May import ingest, lab, exchange, upkeep
and everything below them. Start with `session.Session`, then `model`, `index`, `embedding`.
"""
