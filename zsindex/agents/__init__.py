"""A library as tools for agents, over the Model Context Protocol. The only place that knows its SDK.

Uses a library like any other user, and shows small pictures of what it finds. May import `library`, `services`,
`classification`, `photos` and the ground floor. Start with
`server.serve`. Nothing in it is public.
"""
