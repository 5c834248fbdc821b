"""What the routes work with."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ash.agents import Agents
from ash.keys import ApiKeys
from ash.sessions.files import SessionFiles
from ash.sessions.service import Sessions
from ash.tickets import Tickets

Health = Callable[[], dict[str, Any]]


class Services(Struct, frozen=True):
    agents: Agents
    sessions: Sessions
    files: SessionFiles
    keys: ApiKeys
    tickets: Tickets
    health: Health
