import pytest

from ash.egress import (
    MODEL_ONLY,
    NONE,
    PUBLIC,
    cap,
    not_expanded,
    parse,
    unreachable,
    with_servers,
)

ENV = {"HOST": "mcp.example.org"}
SERVERS = {
    "remote": {"url": "https://mcp.example.com/sse"},
    "local": {"url": "http://user@localhost:8000/mcp"},
    "child": {"command": "npx"},
    "odd": {"url": "https://${NO_HOST}/mcp"},
    "expanded": {"url": "https://${HOST}:${PORT:-8443}/${NO_PATH}"},
    "number": {"url": 7},
    "scheme": {"url": "ftp://ftp.example.com"},
    "text": "https://not.a.server",
}


def test_with_servers_names_the_hosts_of_remote_mcp_servers():
    """Hosts of MCP servers are named with their port; invalid URLs are ignored."""
    policy = with_servers(MODEL_ONLY, SERVERS, ENV)
    assert policy.names("mcp.example.com", 443)
    assert not policy.allows("mcp.example.com", 80)
    assert policy.names("localhost", 8000)
    assert policy.names("mcp.example.org", 8443)
    assert 3 == len(policy.entries)


def test_with_servers_does_not_lift_a_cap():
    """A private MCP server must be named in the server's config too."""
    policy = cap(with_servers(PUBLIC, SERVERS, ENV), PUBLIC)
    assert policy.allows("localhost", 8000)
    assert not policy.names("localhost", 8000)


@pytest.mark.parametrize("servers", [None, [], "x", {}])
def test_with_servers_of_another_shape_changes_nothing(servers):
    """Anything that is not a table of servers is ignored."""
    assert MODEL_ONLY == with_servers(MODEL_ONLY, servers, ENV)


def test_with_servers_leaves_none_alone():
    """`none` allows no MCP servers."""
    assert NONE == with_servers(NONE, SERVERS, ENV)


def test_server_whose_host_is_not_known_is_named():
    """A variable in the path alone, or one with a default, keeps no host closed."""
    [said] = not_expanded(SERVERS, ENV)
    assert 'The MCP server "odd" can\'t be reached: its url needs NO_HOST, not set here' == said
    assert [] == not_expanded(None, ENV)


@pytest.mark.parametrize(
    ("network", "server", "why"),
    [
        ("public", "public", None),
        ([], "public", None),
        ("none", "public", 'the agent\'s network is "none"'),
        ("public", ["other.org"], "add mcp.org:443 to network in this server's ash.toml"),
    ],
)
def test_unreachable_says_why(network, server, why):
    """A server of the folder is opened, but never beyond what its server allows."""
    policy = cap(parse(network), parse(server))
    assert why == unreachable("https://mcp.org/x", policy)


def test_unreachable_says_that_a_url_has_no_host():
    """An address without a scheme, or with a variable that is not set."""
    for url in ("mcp.org", "https://${HOST}/", "ftp://mcp.org"):
        assert "its url names no host" == unreachable(url, PUBLIC)
