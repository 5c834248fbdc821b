"""Which addresses are not on the public internet, and which belong to this host."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

# IANA's registry of special-purpose IPv4 addresses; the first network that contains an address
# gives the words. It is a table of our own because `ipaddress` changes with Python's version.
_IPV4 = {
    ip_network(network): words
    for network, words in {
        "0.0.0.0/8": "an address of this machine",
        "10.0.0.0/8": "a private address",
        "100.64.0.0/10": "a private address of a provider (CGNAT)",
        "127.0.0.0/8": "a loopback address",
        # Azure's metadata service, on an address that is otherwise public.
        "168.63.129.16/32": "a metadata address",
        "169.254.169.254/32": "a metadata address",
        "169.254.0.0/16": "a link-local address",
        "172.16.0.0/12": "a private address",
        "192.0.0.0/24": "a reserved address",
        "192.0.2.0/24": "a reserved address",
        "192.88.99.0/24": "a reserved address",
        "192.168.0.0/16": "a private address",
        "198.18.0.0/15": "a reserved address",
        "198.51.100.0/24": "a reserved address",
        "203.0.113.0/24": "a reserved address",
        "224.0.0.0/4": "a multicast address",
        "240.0.0.0/4": "a reserved address",
    }.items()
}

# The only part of IPv6 that is assigned to the public, and the exceptions in it.
_IPV6_PUBLIC = ip_network("2000::/3")
_IPV6 = {
    ip_network(network): words
    for network, words in {
        "2001::/23": "a reserved address",  # Teredo, which embeds IPv4, is in it
        "2001:db8::/32": "a reserved address",
        "2002::/16": "a reserved address",  # 6to4 embeds IPv4
        "3fff::/20": "a reserved address",
    }.items()
}
_IPV6_OTHER = {
    ip_network(network): words
    for network, words in {
        "::1/128": "a loopback address",
        "::/128": "an address of this machine",
        "fd00:ec2::254/128": "a metadata address",
        "fd20:ce::254/128": "a metadata address",
        "fc00::/7": "a private address",
        "fe80::/10": "a link-local address",
        "ff00::/8": "a multicast address",
    }.items()
}

# In these networks the last 32 bits are an IPv4 address, and that one is reached. The second is
# what DNS64 answers for every public name on networks without IPv4.
_EMBEDS_IPV4 = [ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")]


def parse_address(text: str) -> Address:
    """The address that is really reached: an embedded IPv4 address is taken out.

    Raises ValueError if the text is not an address.
    """
    address = ip_address(text)
    if any(address in network for network in _EMBEDS_IPV4):
        return IPv4Address(address.packed[-4:])
    return address


def why_not_public(address: Address) -> str | None:
    """The kind of the address in words, or None if it is public."""
    if isinstance(address, IPv4Address):
        tables = [_IPV4]
    elif address in _IPV6_PUBLIC:
        tables = [_IPV6]
    else:
        tables = [_IPV6_OTHER, {ip_network("::/0"): "a reserved address"}]
    return next((words for table in tables for net, words in table.items() if address in net), None)


# From linux/rtnetlink.h and linux/netlink.h.
_RTM_NEWROUTE, _RTM_GETROUTE, _NLM_F_REQUEST = 24, 26, 1
_RTA_DST, _RTN_UNICAST = 1, 1
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_OFFSET = _HEADER.size + 7


def is_own(address: Address) -> bool:
    """True unless the kernel would route packets to exactly one other host. Takes 20 µs.

    We ask the routing table, because a list of the interfaces' addresses would miss addresses
    that a route makes local. An address without a route is not the host's own; connecting to it
    fails. Raises OSError if the kernel can't be asked.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(_route_request(address))
        answer = kernel.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    return kind == _RTM_NEWROUTE and answer[_TYPE_OFFSET] != _RTN_UNICAST


def _route_request(address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    route = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _RTA_DST) + address.packed
    length = _HEADER.size + len(route) + len(destination)
    return _HEADER.pack(length, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + route + destination
