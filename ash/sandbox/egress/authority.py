"""Reads `host`, `host:port`, `[::1]:port`: in the policy's lists as in requests."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::(.*))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")

# What inet_aton takes for an address: 127.1, 0x7f000001, 017700000001, 2130706433.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

MAX_NAME = 253


def parse_authority(text: str) -> tuple[str, int | None]:
    """The host in its one canonical form, and the port if there is one.

    Raises ValueError with words for what is wrong; they do not repeat the text. Addresses in
    other forms than the usual are refused: no two readers need to agree on what they mean.
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
