"""From vectors to answers: prompts and templates, questions, scores, and results.

Plain NumPy on what `index` holds; nothing here uses storage or a model. May import `index`, `storage` (its rows),
`photos` and the ground floor. Start with `scores`, which has the formula. `prompts`, `templates`, `options`, `scores`
and `results` are public.
"""
