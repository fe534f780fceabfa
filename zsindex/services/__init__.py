"""What a library does: one module per part of the API, each a class that is given a `Session`.

`Library` hands them out (`library.labels`, `library.runs`, …). A part makes the other parts that it needs from the same
session, and never sees a `Library`. May import `session`, `upkeep`, `lab`, `exchange`, `ingest`, `classification`,
`index`, `storage`, `models`, `photos` and the ground floor. Start with `questions`, which plans and answers what is
asked. Public are the methods of the parts, by way of `Library`; the modules are not.
"""
