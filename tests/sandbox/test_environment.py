"""The environment of a sandbox."""

import pytest

from ash.isolation import GuestPaths
from ash.sandbox.environment import QUIET, environment, own_credentials, own_part

INSIDE = GuestPaths("/workspace", "/home/agent", "/opt/ash", "/run/ash", "/opt/ash")
GIVEN = {"ASH_ENGINE": "scripted", "HTTP_PROXY": "http://127.0.0.1:1"}


def made(own=None):
    return environment(INSIDE, own or {}, GIVEN)


def test_nothing_of_the_daemon_s_gets_in(monkeypatch):
    """What is in a sandbox's environment is named here, and it is all of it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    named = {"PATH", "LANG", "SHELL", "USER", "HOME", "IS_SANDBOX", "PYTHONPATH", "ASH_AGENT"}
    named |= {"NPM_CONFIG_PREFIX", "PIP_BREAK_SYSTEM_PACKAGES"}
    assert named | GIVEN.keys() | QUIET.keys() == made().keys()


def test_what_an_agent_installs_is_found_first():
    """A virtual environment in the workspace, then what pip and npm install for the user."""
    env = made()
    assert ["/workspace/.venv/bin", "/home/agent/.local/bin"] == env["PATH"].split(":")[:2]
    assert "/home/agent/.local" == env["NPM_CONFIG_PREFIX"]


def test_pip_of_the_host_is_not_told_to_break_its_packages():
    """Without isolation they are the host's own."""
    assert "PIP_BREAK_SYSTEM_PACKAGES" not in environment(INSIDE, {}, GIVEN, isolated=False)


def test_agent_adds_its_own():
    """What was asked for is there, over what every sandbox has."""
    env = made({"TOKEN": "t", "PATH": "/mine", "DISABLE_TELEMETRY": "0"})
    assert ("t", "/mine", "0") == (env["TOKEN"], env["PATH"], env["DISABLE_TELEMETRY"])


@pytest.mark.parametrize("name", ["HOME", "PYTHONPATH", "IS_SANDBOX", "ASH_X", *GIVEN])
def test_what_the_daemon_says_is_not_the_agent_s_to_set(name):
    """The bridge starts as it must, and the proxy is where it is."""
    assert made().get(name) == made({name: "mine"}).get(name)


@pytest.mark.parametrize(
    "name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"]
)
def test_credential_for_the_model_stays_outside(name):
    """The proxy adds it; only a model that the proxy doesn't serve needs one inside."""
    key, elsewhere = {name: "k"}, {"ANTHROPIC_BASE_URL": "https://mine"}
    assert {} == own_part(key)
    assert key == own_credentials(key, {})
    assert {**key, **elsewhere} == own_part({**key, **elsewhere})
    assert {} == own_credentials(key, elsewhere)


def test_credential_of_the_session_counts_before_the_agent_s():
    """Also if it is of a kind that would come last."""
    key, token = {"ANTHROPIC_API_KEY": "k"}, {"CLAUDE_CODE_OAUTH_TOKEN": "t"}
    assert token == own_credentials(key, token)
