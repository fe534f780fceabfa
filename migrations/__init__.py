"""How the tables came to be what they are, revision by revision; run by Alembic when a library is opened.

May import `storage` and the ground floor. Start with `env`. Not public.
"""
