"""Storage on a PostgreSQL server, for several machines. The only place that knows psycopg and SQLSTATE.

May import `storage`, `migrations`, `photos` and the ground floor. Start with `database`. Not public.
"""
