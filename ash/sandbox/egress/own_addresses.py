"""Whether an address is one of this host's own, by asking the kernel where it would send to."""

import socket
import struct

from ash.sandbox.egress.addresses import Address

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
