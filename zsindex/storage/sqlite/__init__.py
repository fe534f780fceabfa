"""Storage in one folder: `library.db`, opened and guarded. The only place that knows sqlite3, and files of locks."""
