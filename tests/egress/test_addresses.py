from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.egress.addresses import meant, why_not_public


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
def test_address_that_is_not_public_is_told_by_its_kind(address, why):
    """Each range that is not the internet is known, also where an IPv4 address is embedded."""
    assert why in (why_not_public(meant(address)) or "public")


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
    """What lies beside the ranges is public, NAT64 of a public address included."""
    assert why_not_public(meant(address)) is None


@given(st.ip_addresses(v=4))
def test_embedded_address_is_judged_as_the_one_it_embeds(address):
    """IPv4 inside IPv6 is what it is outside."""
    expected = why_not_public(address)
    assert expected == why_not_public(meant(f"::ffff:{address}"))
    assert expected == why_not_public(meant(f"64:ff9b::{address}"))


@given(st.ip_addresses())
def test_public_address_is_global_for_python_too(address):
    """Nothing passes that the standard library calls private, whatever its version."""
    if why_not_public(meant(str(address))) is None:
        assert not meant(str(address)).is_private


def test_meant_of_what_is_no_address_is_an_error():
    """A resolver's answer with a zone or a name in it is not judged but refused."""
    with pytest.raises(ValueError):
        meant("localhost")
    assert ip_address("fe80::1%1") == meant("fe80::1%1")
