"""How fast this machine is with a model and with photos of a kind: `zsindex bench`.

Asks a library like any user; so it stands above `zsindex.library`. Start with `measure.bench`.
"""
