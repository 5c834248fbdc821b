"""Opens the hosts of remote MCP servers, whose URLs may have variables."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from msgspec import structs

from ash.egress.policy import HostPattern, Policy, format_authority, parse_authority
from ash.expansion import expand, missing

_HTTP_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def with_servers(policy: Policy, mcp_servers: Any, env: Mapping[str, str]) -> Policy:
    """The policy with the hosts of remote MCP servers added; its cap still holds.

    `mcp_servers` is `{name: {url} | {command, …}}`. Anything of another shape is ignored here,
    because the engine reports it. `env` is the environment that the engine expands the URLs with.
    The policy "none" stays as it is.
    """
    if not policy.model:
        return policy
    return structs.replace(policy, entries=(*policy.entries, *_hosts(mcp_servers, env)))


def not_expanded(mcp_servers: Any, env: Mapping[str, str]) -> list[str]:
    """A sentence for each server whose host is not known, because a variable is not set."""
    return [
        f'The MCP server "{name}" can\'t be reached: its url needs {", ".join(names)}, not set here'
        for name, url in _urls(mcp_servers)
        if (names := missing(url, env)) and _host(expand(url, env)) is None
    ]


def unreachable(url: str, policy: Policy) -> str | None:
    """Why a server with this URL, without variables, can't be reached; None if it can."""
    host = _host(url)
    if host is None:
        return "its url names no host"
    assert host.port is not None
    if not policy.model:
        return 'the agent\'s network is "none"'
    opened = structs.replace(policy, entries=(*policy.entries, host))
    if missing_from := opened.missing_from(host.host, host.port, by_name=False):
        return f"add {format_authority(host.host, host.port)} to network {missing_from[0]}"
    return None


def _hosts(mcp_servers: Any, env: Mapping[str, str]) -> Iterator[HostPattern]:
    for _, url in _urls(mcp_servers):
        if host := _host(expand(url, env)):
            yield host


def _urls(mcp_servers: Any) -> Iterator[tuple[str, str]]:
    for name, server in mcp_servers.items() if isinstance(mcp_servers, dict) else ():
        url = server.get("url") if isinstance(server, dict) else None
        if isinstance(url, str):
            yield name, url


def _host(url: str) -> HostPattern | None:
    with suppress(ValueError, KeyError):
        parts = urlsplit(url)
        host, port = parse_authority(parts.netloc.rpartition("@")[2])
        return HostPattern(host, port or _HTTP_PORTS[parts.scheme])
    return None
