"""The clients' connections: how many there may be, and which one ends when there are too many."""

from collections import Counter
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from msgspec import Struct

from ash.errors import Unavailable

# Clients that have shown no key may hold this part of all places, and one tenant may hold that.
_STRANGERS, _A_TENANT = 1 / 4, 3 / 4


class Connection(Protocol):
    """What is asked of a connection."""

    @property
    def site(self) -> str: ...
    @property
    def idle_until(self) -> float | None: ...
    def evict(self) -> None: ...
    def drain(self) -> None: ...


class ConnectionsStatistics(Struct, frozen=True):
    known: int
    strangers: int


class Connections(set[Connection]):
    """The open connections, about `most` of them.

    A connection is a stranger's until a request on it has shown a key. When there are too many
    strangers, the oldest one ends of the address that has the most: so whoever opens thousands
    ends his own. Behind a proxy all have the same address, and the oldest one ends. When there are
    too many with keys, the one ends that has been idle for longest. If none is idle, the request
    is refused in words. So a request under way whose key is known is never ended for another.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most_strangers = max(1, int(most * _STRANGERS))
        self._most_known = max(1, most - self._most_strangers)
        self._share = max(1, int(self._most_known * _A_TENANT))
        self._strangers = 0
        # By address; the oldest first.
        self._sites: dict[str, dict[Connection, None]] = {}
        self._tenants: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()

    def statistics(self) -> "ConnectionsStatistics":
        return ConnectionsStatistics(len(self._tenants), self._strangers)

    def admit(self, connection: Connection) -> None:
        """Adds a new connection; the oldest stranger's ends if there are too many."""
        if self._strangers >= self._most_strangers:
            crowd = max(self._sites.values(), key=len)
            self._end(next(iter(crowd)))
        self.add(connection)
        self._strangers += 1
        self._sites.setdefault(connection.site, {})[connection] = None

    def identify(self, connection: Connection, tenant: str) -> None:
        """Notes whose connection it is. Raises Unavailable if there are too many already."""
        if connection not in self or self._tenants.get(connection) == tenant:
            return
        if self._counts[tenant] >= self._share:
            self._end_idle([one for one, owner in self._tenants.items() if owner == tenant])
        elif len(self._tenants) >= self._most_known:
            self._end_idle(list(self._tenants))
        self._forget(connection)
        self._tenants[connection] = tenant
        self._counts[tenant] += 1

    def leave(self, connection: Connection) -> None:
        self.discard(connection)
        self._forget(connection)

    def _end_idle(self, among: list[Connection]) -> None:
        """Ends the one that has been idle for longest. Raises Unavailable if none is idle."""
        idle = [(one.idle_until, n) for n, one in enumerate(among) if one.idle_until is not None]
        if not idle:
            raise Unavailable(
                f"{len(among)} connections are in use, and there may be no more: end streams that"
                " nobody reads, or raise max_connections on the server"
            )
        self._end(among[min(idle)[1]])

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        connection.evict()

    def _forget(self, connection: Connection) -> None:
        if tenant := self._tenants.pop(connection, None):
            self._counts[tenant] -= 1
        beside = self._sites.get(connection.site, {})
        if connection in beside:
            self._strangers -= 1
            del beside[connection]
            if not beside:
                del self._sites[connection.site]


def site(address: str) -> str:
    """What counts as one address: a host has a whole /64 of version 6 to itself."""
    if ":" not in address:
        return address
    host = IPv6Address(address.partition("%")[0])
    return str(host.ipv4_mapped or ip_network((host, 64), strict=False))
