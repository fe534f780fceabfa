"""From vectors to answers: prompts and templates, the question and its plan, scores, and what comes back.

Numpy over what `index` holds; nothing here looks into storage or asks a model. May import `index`, `photos` and the
ground floor. Start with `scores`, which has the formula. `prompts`, `templates`, `scores` and `results` are public.
"""
