"""Loads the named queries of `queries/*.sql`.

A query is a line `-- name: x`, a line `-- what it does`, and one statement with `:named`
parameters, in the SQL that SQLite (3.35 and newer) and Postgres share.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

from msgspec import Struct

_QUERY = re.compile(
    r"^-- name: (?P<name>\w+)\n-- (?P<description>.+)\n(?P<text>[^;]+);$", re.MULTILINE
)


class SqlQuery(Struct, frozen=True):
    name: str
    description: str
    text: str


def load(topic: str) -> Mapping[str, SqlQuery]:
    """The queries of `queries/<topic>.sql` by name."""
    script = files("ash.store").joinpath("queries", f"{topic}.sql").read_text("utf-8")
    found = (SqlQuery(**match.groupdict()) for match in _QUERY.finditer(script))
    return MappingProxyType({query.name: query for query in found})
