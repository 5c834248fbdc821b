"""Which addresses are public, and which belong to this host."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.egress.addresses import is_own, parse_address, why_not_public


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0", "this machine"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "CGNAT"),
        ("100.100.100.200", "CGNAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "reserved"),
        ("192.168.1.1", "private"),
        ("198.19.0.1", "reserved"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "this machine"),
        ("::1", "loopback"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "metadata"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b:1::7f00:1", "reserved"),
        ("100::1", "reserved"),
        ("2001::7f00:1", "reserved"),
        ("2001:db8::1", "reserved"),
        ("2002:7f00:1::", "reserved"),
        ("3fff::1", "reserved"),
        ("5f00::1", "reserved"),
        ("fd00::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fec0::1", "reserved"),
        ("ff02::1", "multicast"),
    ],
)
def test_address_that_is_not_public_is_described(address, why):
    """An address that is not public is described, also if it is embedded in IPv6."""
    assert why in (why_not_public(parse_address(address)) or "public")


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "100.128.0.1",
        "168.63.129.17",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2001:200::1",
        "2606:4700::1111",
        "2a00:1450::1",
    ],
)
def test_address_that_is_public_is_let_through(address):
    """Addresses just outside of the ranges are public, and so is a public one behind NAT64."""
    assert why_not_public(parse_address(address)) is None


@given(st.ip_addresses(v=4))
def test_embedded_address_is_judged_as_the_one_it_embeds(address):
    """An IPv4 address is judged the same inside an IPv6 address."""
    expected = why_not_public(address)
    assert expected == why_not_public(parse_address(f"::ffff:{address}"))
    assert expected == why_not_public(parse_address(f"64:ff9b::{address}"))


@given(st.ip_addresses())
def test_public_address_is_global_for_python_too(address):
    """No address passes that the standard library calls private."""
    if why_not_public(parse_address(str(address))) is None:
        assert not parse_address(str(address)).is_private


def test_parse_address_of_a_name_is_an_error():
    """A name is not an address; an address with a zone is kept apart."""
    with pytest.raises(ValueError):
        parse_address("localhost")
    assert ip_address("fe80::1%1") == parse_address("fe80::1%1")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "0.0.0.0", "255.255.255.255", "::1"])
def test_own_address_is_known(address):
    """Loopback, broadcast and the unspecified address belong to this host."""
    assert is_own(ip_address(address))


def _addresses_of_interfaces():
    lines = Path("/proc/net/if_inet6").read_text().splitlines()
    yield from (ip_address(bytes.fromhex(line.split()[0])) for line in lines)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        yield ip_address(probe.getsockname()[0])


def test_own_addresses_of_all_interfaces_are_known():
    """The addresses of all interfaces belong to this host."""
    addresses = list(_addresses_of_interfaces())
    assert [True] * len(addresses) == [is_own(address) for address in addresses]


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_address_of_another_host_is_not_own(address):
    """An address that is routed to another host, or not at all, is not this host's."""
    assert not is_own(ip_address(address))
