import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from ash.egress.addresses import is_own


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "0.0.0.0", "255.255.255.255", "::1"])
def test_own_address_is_known(address):
    """Loopback, broadcast and the unspecified address lead nowhere but here."""
    assert is_own(ip_address(address))


def _addresses_of_interfaces():
    lines = Path("/proc/net/if_inet6").read_text().splitlines()
    yield from (ip_address(bytes.fromhex(line.split()[0])) for line in lines)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        yield ip_address(probe.getsockname()[0])


def test_own_addresses_of_all_interfaces_are_known():
    """Whatever interface has it, an address of this host is its own."""
    addresses = list(_addresses_of_interfaces())
    assert [True] * len(addresses) == [is_own(address) for address in addresses]


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_address_of_another_host_is_not_own(address):
    """An address that packets are sent away to, or that has no route, is not this host's."""
    assert not is_own(ip_address(address))
