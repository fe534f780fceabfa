"""From vectors to answers: prompts and templates, the question and its plan, scores, and what comes back.

Pure numpy over what `index` holds; nothing here touches the disk or a model. Start with `scores`, which has the
formula.
"""
