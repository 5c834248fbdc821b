"""The routes that the server has."""

import re

from ash.http.app import Services, make_app
from ash.http.front import ROUTES as STREAMING

# Below here a key is needed.
API = "/api/"


def served():
    """The methods of each path, as they are registered; a parameter is `{}`."""
    nothing = Services(*[None] * len(Services.__struct_fields__))
    rules = make_app(nothing).url_map.iter_rules()
    routes = [(method, rule.rule) for rule in rules for method in rule.methods]
    found = {}
    for method, path in (*routes, *STREAMING):
        if method not in {"HEAD", "OPTIONS"}:
            found.setdefault(re.sub(r"<[^>]+>", "{}", path), set()).add(method)
    return found


def requests():
    """A method and a path for each route; its parameters are `x`."""
    return [
        (method, path.replace("{}", "x"))
        for path, methods in served().items()
        for method in sorted(methods)
    ]
