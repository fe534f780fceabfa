"""Storage in one folder: `library.db`, opened and guarded. The only place that knows sqlite3, and files of locks.

May import `storage`, `migrations`, `photos` and the ground floor. Start with `database`. Not public.
"""
