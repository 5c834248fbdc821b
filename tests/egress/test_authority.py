"""How the host and port of a request are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.egress import policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", ("example.com", None)),
        ("EXAMPLE.com.:443", ("example.com", 443)),
        ("under_score.example.com", ("under_score.example.com", None)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("::1", None)),
        ("[0:0::0001]:8080", ("::1", 8080)),
        ("[::ffff:127.0.0.1]:80", ("::ffff:7f00:1", 80)),
        ("::1", ("::1", None)),
    ],
)
def test_parse_authority_gives_one_form_for_each_host(text, expected):
    """All spellings of a host have one canonical form."""
    assert expected == policy.parse_authority(text)


@pytest.mark.parametrize(
    "text",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "256.0.0.1",
        "example.0x1",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020.0.1",
    ],
)
def test_parse_authority_refuses_addresses_in_unusual_forms(text):
    """An IPv4 address must be written as four decimal numbers."""
    with pytest.raises(ValueError):
        policy.parse_authority(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "-a.com",
        "a b",
        "a\r\nHost: b",
        "user@host",
        "host/path",
        "host:http",
        "host:-1",
        "host:+80",
        "host:\uff18\uff10",
        "host:65536",
        "[::1]x",
        "[::1]:",
        "[fe80::1%25eth0]",
        "[example.com]",
        "a" * 64,
        ".".join(["abcdefg"] * 40),
    ],
)
def test_parse_authority_refuses_texts_that_are_no_host(text):
    """A text that is neither a name nor an address is an error."""
    with pytest.raises(ValueError):
        policy.parse_authority(text)


@given(st.ip_addresses().map(str) | st.just("a.example"), st.integers(1, 65535))
def test_parse_authority_of_a_formatted_one_is_the_same(host, port):
    """Formatting a host and parsing it again changes nothing."""
    assert (host, port) == policy.parse_authority(policy.format_authority(host, port))


@given(st.text(max_size=40))
def test_parse_authority_of_any_text_gives_a_plain_host_or_an_error(text):
    """A parsed host has no character with a meaning elsewhere."""
    try:
        host, _ = policy.parse_authority(text)
    except ValueError:
        return
    assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")
