"""Values that clients of other servers send in another type: read as they are meant."""

import json

import msgspec
import pytest

from ash.errors import BadRequest
from ash.requests.agents import DeployAgent
from ash.requests.parsing import decode
from ash.requests.sessions import CreateSession, RunCommand


def read(shape, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode(data, msgspec.json.Decoder(shape))


MEANT = [(3000, "3000"), (1.5, "1.5"), (2.0, "2"), (-1, "-1"), (True, "true"), (False, "false")]


@pytest.mark.parametrize(("given", "meant"), MEANT)
def test_variable_may_be_a_number_or_a_boolean(given, meant):
    """It is the text that JavaScript makes of it."""
    body = {"name": "a", "env": {"PLAIN": "naïve", "PORT": given}}
    assert {"PLAIN": "naïve", "PORT": meant} == read(DeployAgent, body).env
    body = {"agent": "a", "extraEnv": {"PORT": given}}
    assert {"PORT": meant} == read(CreateSession, body).extra_env


def test_variable_of_an_mcp_server_may_be_a_number():
    """As any other variable."""
    server = {"command": "serve", "env": {"PORT": 3000}}
    wanted = read(CreateSession, {"agent": "a", "mcpServers": {"s": server}})
    assert {"PORT": "3000"} == wanted.mcp_servers["s"].env


def test_timeout_may_be_digits():
    """A form sends a text."""
    assert 5000 == read(RunCommand, {"command": "ls", "timeout": "5000"}).timeout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a", "env": {"A": None}}, 'env[...]: expected "str", got "null"'),
        ({"name": "a", "env": {"A": [1]}}, 'env[...]: expected "str", got "array"'),
        ({"name": "a", "env": {"A": 1, "B": {}}}, 'env[...]: expected "str", got "object"'),
        ({"name": "a", "env": 1}, 'env: expected "object | null", got "int"'),
        (b'{"name": "a", "env": {"A": 1}, ', 'env[...]: expected "str", got "int"'),
    ],
)
def test_what_means_no_text_is_refused(body, words):
    """In the words that any value of a wrong type has."""
    with pytest.raises(BadRequest) as refused:
        read(DeployAgent, body)
    assert words == refused.value.text


@pytest.mark.parametrize("timeout", ["5 s", "", "300001", "0", "9" * 400, "²"])
def test_timeout_that_is_no_number_within_the_bounds_is_refused(timeout):
    """The rule is that of a number."""
    with pytest.raises(BadRequest, match="timeout: expected"):
        read(RunCommand, {"command": "ls", "timeout": timeout})
