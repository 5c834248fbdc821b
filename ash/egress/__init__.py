"""The way out of a sandbox: a proxy that adds the key to model calls and applies the policy."""

from ash.egress.credentials import CREDENTIALS, credential_headers, custom_headers, in_use, with_own
from ash.egress.listener import SOCKET_NAME, open_listener
from ash.egress.mcp_hosts import not_expanded, unreachable, with_servers
from ash.egress.model_faults import ModelFault, ModelFaults
from ash.egress.places import Places
from ash.egress.policy import MODEL_ONLY, NONE, PUBLIC, Policy, cap, parse
from ash.egress.proxy import Egress
from ash.egress.upstream import ModelUpstream

__all__ = [
    "CREDENTIALS",
    "MODEL_ONLY",
    "NONE",
    "PUBLIC",
    "SOCKET_NAME",
    "Egress",
    "ModelFault",
    "ModelFaults",
    "ModelUpstream",
    "Places",
    "Policy",
    "cap",
    "credential_headers",
    "custom_headers",
    "in_use",
    "not_expanded",
    "open_listener",
    "parse",
    "unreachable",
    "with_own",
    "with_servers",
]
