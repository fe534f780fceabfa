"""What requests hold and answers look like, as OpenAPI shows it: a module for each of `zsindex.web.routes`.

Bodies derive from `fields.RequestBody`, and are built of the types in `fields` and of the options in `questions`. Where
an answer is a record of the library, the record itself is its schema; there is a model here only where the
service shows something else. Nothing here imports from the rest of `zsindex.web`.
"""
