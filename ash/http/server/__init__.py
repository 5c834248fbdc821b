"""HTTP/1.1 for an ASGI app, on Hypercorn's protocol, with connections of our own.

Nothing in here knows Quart or the routes. docs/decisions/0003-hypercorn-connection.md says why
it exists.
"""
