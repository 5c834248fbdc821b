"""Which hosts a policy allows, and how it is read from a config."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.egress.policy import PUBLIC, cap, parse

LIST = ["api.example.com", "*.pypi.org", "db.corp:5432", "10.0.0.5", "[fd00::5]:80"]


@pytest.mark.parametrize(
    ("network", "host", "port", "allowed"),
    [
        ("none", "example.com", 443, False),
        ("model-only", "example.com", 443, False),
        ("public", "example.com", 443, True),
        ("public", "localhost", 22, True),
        ([], "example.com", 443, False),
        (["*"], "example.com", 443, True),
        (["public"], "example.com", 443, True),
        (LIST, "api.example.com", 443, True),
        (LIST, "api.example.com", 8443, True),
        (LIST, "example.com", 443, False),
        (LIST, "evil-api.example.com", 443, False),
        (LIST, "api.example.com.evil.org", 443, False),
        (LIST, "files.pypi.org", 443, True),
        (LIST, "a.b.pypi.org", 443, True),
        (LIST, "pypi.org", 443, False),
        (LIST, "evilpypi.org", 443, False),
        (LIST, "db.corp", 5432, True),
        (LIST, "db.corp", 22, False),
        (LIST, "10.0.0.5", 22, True),
        (LIST, "10.0.0.50", 22, False),
        (LIST, "fd00::5", 80, True),
        (LIST, "fd00::5", 81, False),
        (["API.Example.COM."], "api.example.com", 443, True),
        (["*.pypi.org:443"], "files.pypi.org", 443, True),
        (["*.pypi.org:443"], "files.pypi.org", 80, False),
    ],
)
def test_policy_allows_the_hosts_of_its_list(network, host, port, allowed):
    """A host is allowed if a preset, an entry or a wildcard covers it."""
    assert allowed == parse(network).allows(host, port)


@pytest.mark.parametrize(
    ("network", "host", "named"),
    [
        ("public", "localhost", False),
        (["*", "localhost"], "localhost", True),
        (["*.corp"], "db.corp", False),
        (["db.corp"], "db.corp", True),
        (["*.corp", "db.corp"], "db.corp", True),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "localhost", False),
        (["0:0:0:0:0:0:0:1"], "::1", True),
    ],
)
def test_policy_names_only_hosts_listed_exactly(network, host, named):
    """Hosts that a wildcard or `public` allows are not named."""
    assert named == parse(network).names(host, 80)


@pytest.mark.parametrize(
    ("network", "word"),
    [
        ("none", False),
        ("model-only", True),
        ("public", True),
        ([], True),
        (["example.com"], True),
    ],
)
def test_policy_calls_model_unless_it_is_none(network, word):
    """Every policy but `none` allows model calls."""
    assert word == parse(network).calls_model


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("pubic", "'pubic'"),
        (None, "None"),
        ({"allow": []}, "'allow'"),
        (["example.com", 7], "7 in network must be a text"),
        (["public", "example.com"], '"public" in network stands alone'),
        (["model-only", "example.com"], '"model-only" in network stands alone'),
        (["example.com", "none"], '"none" in network stands alone'),
        (["https://example.com"], '"https://example.com" in network: write the host alone'),
        (["10.0.0.0/8"], '"10.0.0.0/8" in network: name single hosts'),
        (["a.*.com"], '"a.*.com" in network: a wildcard stands alone or at the beginning'),
        (["*.10.0.0.1"], '"*.10.0.0.1" in network: a wildcard stands before a name'),
        (["example.com:0"], '"example.com:0" in network: the port'),
        (["example.com:99999"], '"example.com:99999" in network: the port'),
        (["example.com:"], '"example.com:" in network: the port'),
        (["exa mple.com"], '"exa mple.com" in network: it is not a host name'),
        ([""], '"" in network: it is not a host name'),
        (["münchen.de"], '"münchen.de" in network: write international names'),
        (["2130706433"], '"2130706433" in network: write IPv4 addresses as four'),
        (["0x7f.1"], '"0x7f.1" in network: write IPv4'),
        (["[::1"], '"[::1" in network'),
        (["[fe80::1%eth0]"], '"[fe80::1%eth0]" in network'),
    ],
)
def test_parse_of_an_invalid_entry_names_it(network, words):
    """An invalid entry is an error that shows it and says what is wrong."""
    with pytest.raises(ValueError) as error:
        parse(network)
    assert words in str(error.value)


labels = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
hosts = names | st.ip_addresses(v=4).map(str)
ports = st.integers(1, 65535)
entries = st.one_of(
    hosts,
    names.map("*.{}".format),
    st.tuples(hosts, ports).map(lambda pair: f"{pair[0]}:{pair[1]}"),
)
networks = st.sampled_from(["none", "model-only", "public"]) | st.lists(entries, max_size=4)


@given(networks, networks, hosts, ports)
def test_cap_allows_only_hosts_that_both_allow(agent, server, host, port):
    """A capped policy allows and names a host only if both policies do."""
    ours, theirs = parse(agent), parse(server)
    both = cap(ours, theirs)
    assert (ours.allows(host, port) and theirs.allows(host, port)) == both.allows(host, port)
    assert (ours.names(host, port) and theirs.names(host, port)) == both.names(host, port)
    assert (ours.calls_model and theirs.calls_model) == both.calls_model


@given(networks, hosts, ports)
def test_names_is_never_wider_than_allows(network, host, port):
    """A host that is named is always allowed."""
    policy = parse(network)
    assert policy.allows(host, port) or not policy.names(host, port)


@given(hosts, ports)
def test_parse_of_a_host_allows_that_host(host, port):
    """A list with one host and port allows it, and no other port."""
    policy = parse([f"{host}:{port}"])
    assert policy.names(host, port)
    assert not policy.allows(host, port % 65535 + 1)


def test_missing_from_tells_where_to_add_the_host():
    """The places are the agent's config, the server's, or both."""
    agent, server = "in the agent's config", "in this server's ash.toml"
    policy = cap(parse(["a.org", "b.org"]), parse(["b.org", "c.org"]))
    assert [server] == policy.missing_from("a.org", 443, by_name=False)
    assert [] == policy.missing_from("b.org", 443, by_name=False)
    assert [agent] == policy.missing_from("c.org", 443, by_name=False)
    assert [agent, server] == policy.missing_from("d.org", 443, by_name=False)
    assert [agent, server] == cap(PUBLIC, PUBLIC).missing_from("localhost", 80, by_name=True)


def test_cap_of_a_capped_policy_keeps_the_first_cap():
    """A second cap can only take hosts away."""
    policy = cap(cap(PUBLIC, parse(["a.org", "b.org"])), parse(["b.org"]))
    assert not policy.allows("a.org", 443)
    assert policy.allows("b.org", 443)
