"""What leaves a sandbox: model calls with a key that is never inside, the rest by policy."""

from ash.sandbox.egress.credentials import credentials, with_key
from ash.sandbox.egress.listener import SOCKET_NAME, open_listener
from ash.sandbox.egress.policy import MODEL_ONLY, NONE, PUBLIC, Policy, cap, parse, with_servers
from ash.sandbox.egress.proxy import Egress
from ash.sandbox.egress.upstream import ModelUpstream

__all__ = [
    "MODEL_ONLY",
    "NONE",
    "PUBLIC",
    "SOCKET_NAME",
    "Egress",
    "ModelUpstream",
    "Policy",
    "cap",
    "credentials",
    "open_listener",
    "parse",
    "with_key",
    "with_servers",
]
