"""What a library does beside syncing and answering: one module per part of the API, each a class over a `Session`.

`Library` hands them out (`library.labels`, `library.runs`, …). A part is given the session, makes the other parts that
it needs from it, and never sees a `Library`. May import session and everything below. Start with `questions`, which
plans and answers what is asked.
"""
