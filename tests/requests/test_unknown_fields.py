"""Fields that no shape names."""

import json

import msgspec
import pytest

from ash.errors import BadRequest
from ash.requests.agents import DeployAgent, check_config, unknown_in
from ash.requests.messages import SendMessage, message_query
from ash.requests.parsing import decode, decode_with_warnings
from ash.requests.sessions import ConfigureSession, CreateSession, RunCommand, UploadFiles
from ash.requests.unknown_fields import MOST_UNKNOWN

SERVER = {"command": "x"}


def warnings(body, shape):
    return decode_with_warnings(body, msgspec.json.Decoder(shape))[1]


@pytest.mark.parametrize(
    ("shape", "body", "words"),
    [
        (
            CreateSession,
            {"agent": "a", "modle": "x"},
            'unknown field "modle"; did you mean "model"?',
        ),
        (
            CreateSession,
            {"agent": "a", "system_prompt": "x"},
            'unknown field "system_prompt"; did you mean "systemPrompt"?',
        ),
        (
            CreateSession,
            {"agent": "a", "mcpServers": {"crm": {**SERVER, "arg": []}}},
            'mcpServers.crm: unknown field "arg"; did you mean "args"?',
        ),
        (
            UploadFiles,
            {"files": [{"path": "a", "content": ""}, {"path": "b", "content": "", "mod": "755"}]},
            'files[1]: unknown field "mod"; did you mean "mode"?',
        ),
        (ConfigureSession, {"disalowedTools": []}, 'unknown field "disalowedTools"; did you mean '),
        (DeployAgent, {"name": "a", "confg": {}}, 'unknown field "confg"; did you mean "config"?'),
        (RunCommand, {"command": "x", "timeuot": 1}, 'unknown field "timeuot"; did you mean '),
        (
            SendMessage,
            {"content": "x", "thinking": {"type": "enabled", "budgetToken": 1}},
            'thinking: unknown field "budgetToken"; did you mean "budgetTokens"?',
        ),
    ],
)
def test_typo_is_refused_and_names_what_was_meant(shape, body, words):
    """In every body, and in the objects in it."""
    with pytest.raises(BadRequest) as refused:
        decode(json.dumps(body).encode(), msgspec.json.Decoder(shape))
    assert refused.value.text.startswith(words)


def test_other_unknown_fields_are_named():
    """With their path; names that are free are nobody's typo."""
    body = {
        "agent": "a",
        "colour": 1,
        "mcpServers": {"mode": {**SERVER, "icon": "x"}, "null": SERVER},
        "extraEnv": {"MODLE": "x"},
        "subagents": {"modle": {}},
    }
    data = json.dumps(body).encode()
    why = "this field is unknown and has no effect"
    assert [f"colour: {why}", f"mcpServers.mode.icon: {why}"] == warnings(data, CreateSession)
    assert [] == warnings(b"", ConfigureSession)
    assert [f"x: {why}"] == warnings(b'\xef\xbb\xbf{"x": 1}', ConfigureSession)


def test_unknown_field_of_a_body_that_was_mended_is_named():
    """A number in place of a text does not hide it."""
    body = rb'{"agent": "a", "colour": "red", "model": "m", "extraEnv": {"A": 1}}'
    assert ["colour: this field is unknown and has no effect"] == warnings(body, CreateSession)


def test_config_of_an_agent_keeps_what_is_its_owner_s():
    """And says that the server does not use it."""
    config = {"network": "none", "team": "x"}
    check_config(config)
    assert ["config.team: this field is kept, but the server does not use it"] == unknown_in(config)
    assert [] == unknown_in(None)
    with pytest.raises(BadRequest, match='config: unknown field "prewarmcount"; did you mean "pre'):
        check_config({"prewarmcount": 3})


def test_many_unknown_fields_cost_no_more_than_a_few():
    """The loop has no time to compare each with all that are known."""
    body = {"agent": "a", **{f"unknown{number}": 1 for number in range(50_000)}}
    data = json.dumps(body).encode()
    assert MOST_UNKNOWN == len(warnings(data, CreateSession)) == len(unknown_in(body))


def test_large_message_is_not_read_twice():
    """The loop has no time for that."""
    body = {"content": "x" * 400_000, "effrt": "low", "padding": "x" * 700_000}
    assert message_query("s", json.dumps(body).encode()).effort is None
    with pytest.raises(BadRequest, match='unknown field "effrt"'):
        message_query("s", json.dumps({**body, "padding": ""}).encode())
