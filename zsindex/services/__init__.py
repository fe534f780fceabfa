"""What a library does: one module per part of the API, each with a class that is given a `Session`.

`Library` hands them out (`library.labels`, `library.runs`, …). A part creates the other parts it needs from the same
session, and never sees a `Library`. May import `distributed`, `session`, `upkeep`, `lab`, `exchange`, `ingest`,
`classification`, `index`, `storage`, `models`, `photos` and the ground floor. Start with `questions`, which plans and
answers questions. The methods of the parts are public, through `Library`; the modules are not.
"""
