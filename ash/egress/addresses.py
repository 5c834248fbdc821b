"""Which addresses are no part of the public internet."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

# A table of our own: what `ipaddress` calls private or global changes with Python's version.
# From IANA's registry of special-purpose IPv4 addresses; the first that fits gives the words.
_IPV4 = {
    ip_network(network): words
    for network, words in {
        "0.0.0.0/8": "an address of this machine",
        "10.0.0.0/8": "a private address",
        "100.64.0.0/10": "a private address of a provider (CGNAT)",
        "127.0.0.0/8": "a loopback address",
        # Azure's: one public address that answers to each virtual machine about itself.
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

# The only part of IPv6 that is given out to the public, and what in it is not.
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

# In these the last 32 bits are the IPv4 address that is really meant. On networks without
# IPv4, DNS64 gives the second for every public name.
_EMBEDS_IPV4 = [ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")]


def meant(text: str) -> Address:
    """The address, an embedded one taken out. Raises ValueError if the text is none."""
    address = ip_address(text)
    if any(address in network for network in _EMBEDS_IPV4):
        return IPv4Address(address.packed[-4:])
    return address


def why_not_public(address: Address) -> str | None:
    """What the address is, in words, if it is not a public one."""
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
    """Whether packets to it would not leave the host for a single other one. Takes 20 µs.

    A list of interface addresses would leave out what routes make local. An address without
    any route is not the host's own; connecting to it fails. Raises OSError if the kernel
    can't be asked.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(_question(address))
        answer = kernel.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    return kind == _RTM_NEWROUTE and answer[_TYPE_OFFSET] != _RTN_UNICAST


def _question(address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    route = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _RTA_DST) + address.packed
    length = _HEADER.size + len(route) + len(destination)
    return _HEADER.pack(length, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + route + destination
