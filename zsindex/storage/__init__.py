"""What is remembered: files, images, vectors, prompts, label sets, corrections, runs, jobs.

`protocol` says what the program asks of a storage, with its guarantees; `sqlite` is one. May import `photos` and the
ground floor. Start with `protocol`. Not public.
"""
