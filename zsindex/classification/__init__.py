"""From vectors to answers: prompts and templates, the question and its plan, scores, and what comes back.

Numpy over what `index` holds; nothing here asks storage or a model. May import `index`, `storage` (its rows), `photos`
and the ground floor. Start with `scores`, which has the formula. `prompts`, `templates`, `options`, `scores` and
`results` are public.
"""
