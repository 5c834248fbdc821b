"""How the file descriptors of this process are divided between clients, proxies and the rest."""

import resource

from msgspec import Struct

# The store, listeners, the log, and files that are read, written or copied at the moment.
OWN = 128
# The link, the process, the proxy's listener, up to four idle connections to the model, and what is
# open while a sandbox starts.
A_SANDBOX = 12
# A client's connection needs a second one if the client closes its half, a proxied one for the
# connection to the outside.
A_CONNECTION = 2

# Beyond this, memory would be the limit: a proxied connection takes up to 0.2 MB.
MOST_PROXIED = 4096


class DescriptorPlan(Struct, frozen=True):
    """How many connections there may be at a time: of clients, and through the proxies."""

    clients: int
    proxied: int


def plan(*, max_sandboxes: int, max_connections: int) -> DescriptorPlan:
    """By this process's present limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return DescriptorPlan(max_connections, MOST_PROXIED)
    return divide(limit, max_sandboxes=max_sandboxes, max_connections=max_connections)


def divide(limit: int, *, max_sandboxes: int, max_connections: int) -> DescriptorPlan:
    """What is left by the daemon and its sandboxes is for clients and proxies, half for each.

    If that is little, the sandboxes have to do with less: there will hardly be so many.
    """
    kept = min(OWN + A_SANDBOX * max_sandboxes, limit // 2)
    places = (limit - kept) // A_CONNECTION
    clients = min(max_connections, places // 2)
    return DescriptorPlan(clients, min(MOST_PROXIED, places - clients))
