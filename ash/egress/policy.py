"""Which hosts a sandbox may reach, by the names that its requests carry.

`"none"` allows nothing, not even model calls; `"model-only"` allows model calls alone; a list
allows them and the listed hosts; `"public"` allows them and the whole internet. addresses.py
decides which addresses a name may resolve to.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from msgspec import Struct, structs

FORMS = '"none", "model-only", "public" or a list such as ["api.example.com", "*.pypi.org:443"]'

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::(.*))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")

# Texts that inet_aton reads as an address: 127.1, 0x7f000001, 017700000001, 2130706433.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

MAX_NAME = 253

# So many take 5 ms to read.
MAX_HOSTS = 1000


class HostPattern(Struct, frozen=True):
    """One host of a list. A `host` that begins with a dot matches all names that end with it."""

    host: str
    port: int | None = None

    def matches(self, host: str, port: int) -> bool:
        if self.port not in {None, port}:
            return False
        return host.endswith(self.host) if self.host.startswith(".") else host == self.host


class Policy(Struct, frozen=True):
    """The hosts that are allowed, and never more than `cap` allows.

    Hosts are in the form that `parse_authority` gives. A host that is named exactly may have any
    address, also a private one. A host that a wildcard or `public` allows must have a public
    address, because strangers decide which address its name resolves to.
    """

    model: bool = True
    public: bool = False
    entries: tuple[HostPattern, ...] = ()
    cap: "Policy | None" = None

    @property
    def calls_model(self) -> bool:
        return all(policy.model for policy in _chain(self))

    def allows(self, host: str, port: int) -> bool:
        """Whether the host is allowed, if its addresses are public or `names` is true too."""
        return not self.missing_from(host, port, by_name=False)

    def names(self, host: str, port: int) -> bool:
        """Whether this very host is listed, and so allowed with any address."""
        return not self.missing_from(host, port, by_name=True)

    def missing_from(self, host: str, port: int, *, by_name: bool) -> list[str]:
        """The places, in words, where the host must be added to be allowed (or to be named)."""
        return [
            "in this server's ash.toml" if number else "in the agent's config"
            for number, policy in enumerate(_chain(self))
            if not _has(policy, host, port, by_name=by_name)
        ]


def _chain(policy: Policy) -> Iterator[Policy]:
    yield policy
    if policy.cap is not None:
        yield from _chain(policy.cap)


def _has(policy: Policy, host: str, port: int, *, by_name: bool) -> bool:
    fitting = [entry for entry in policy.entries if entry.matches(host, port)]
    if by_name:
        return any(entry.host == host for entry in fitting)
    return policy.public or bool(fitting)


NONE = Policy(model=False)
MODEL_ONLY = Policy()
PUBLIC = Policy(public=True)

_PRESETS = {"none": NONE, "model-only": MODEL_ONLY, "public": PUBLIC}


def parse(value: Any) -> Policy:
    """The policy that a config's `network` asks for.

    A list with a single preset counts as the preset, and `*` in a list as any public host.
    Raises ValueError, which names the entry and what is wrong with it.
    """
    match value:
        case str(word) | [str(word)] if word in _PRESETS:
            return _PRESETS[word]
        case list() | tuple():
            if len(value) > MAX_HOSTS:
                raise ValueError(f"network may list up to {MAX_HOSTS} hosts, not {len(value)}")
            return _listed(tuple(map(_text, value)))
    raise ValueError(f"network must be {FORMS}, not {value!r}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} in network must be a text: a host, *.host or host:port")  # noqa: TRY004 - as for any other bad entry
    return value


@lru_cache(maxsize=64)
def _listed(hosts: tuple[str, ...]) -> Policy:
    """An agent's list is read once, and not again for each of its sessions."""
    entries = [_entry(text) for text in hosts if text != "*"]
    return Policy(public="*" in hosts, entries=tuple(dict.fromkeys(entries)))


def cap(agent: Policy, server: Policy) -> Policy:
    """A policy that allows what both allow, so that an agent gets no more than its server."""
    return structs.replace(agent, cap=server if agent.cap is None else cap(agent.cap, server))


def _entry(text: str) -> HostPattern:
    if text in _PRESETS:
        raise ValueError(f'"{text}" in network stands alone, not in a list')
    return _host(text)


def _host(text: str) -> HostPattern:
    try:
        host, port = parse_authority(text.removeprefix("*."))
    except ValueError as error:
        raise ValueError(f'"{text}" in network: {_hint(text) or error}') from None
    if not text.startswith("*."):
        return HostPattern(host, port)
    if is_address(host):
        raise ValueError(f'"{text}" in network: a wildcard stands before a name, not an address')
    return HostPattern(f".{host}", port)


def _hint(text: str) -> str | None:
    if "://" in text:
        return "write the host alone, without a scheme or path"
    if "/" in text:
        return "name single hosts, neither paths nor ranges"
    if "*" in text:
        return "a wildcard stands alone or at the beginning, as in *.example.com"
    return None


def parse_authority(text: str) -> tuple[str, int | None]:
    """The host in its canonical form, and the port if there is one.

    Raises ValueError, which says what is wrong without repeating the text. Addresses in unusual
    forms are refused, because two programs may read them as different addresses.
    """
    if match := _BRACKETED.fullmatch(text):
        return _ipv6(match[1]), _port(match[2])
    if text.count(":") > 1:
        return _ipv6(text), None
    host, colon, port = text.partition(":")
    return _name(host), _port(port if colon else None)


def format_authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(host: str) -> bool:
    """Whether a host that `parse_authority` gave is an address."""
    return ":" in host or host.replace(".", "").isdigit()


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise ValueError("it is not an IPv6 address") from None


def _name(text: str) -> str:
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if not name.isascii():
        raise ValueError("write international names in their ASCII form, xn--…")
    if len(name) > MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("it is not a host name or an address")
    return _ipv4(name) if _NUMBER.fullmatch(labels[-1]) else name


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise ValueError("write IPv4 addresses as four decimal numbers") from None


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65_536:
        raise ValueError("the port must be a number from 1 to 65535")
    return int(text)
