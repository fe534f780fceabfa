"""How fast this machine is with a model and with photos of a kind: `zsindex bench`. Asks a library like any user.

May import `library`, `session`, `storage`, `models`, `photos` and the ground floor. Start with `measure.measure`. Not
public.
"""
