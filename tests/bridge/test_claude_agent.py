"""Features that only claude-agent has, and how claude-code refuses them."""

from uuid import uuid4

import pytest

from tests.support.bridge import RecordedCli, start_bridge

pytestmark = pytest.mark.cli

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> RecordedCli:
    return RecordedCli(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def shared(cli, model, tmp_path_factory):
    env = {"CLAUDE_CODE_EXECUTABLE": str(cli.path)}
    with start_bridge("claude-agent", tmp_path_factory.mktemp("x"), model.url, **env) as bridge:
        yield bridge


@pytest.fixture
def bridge(shared):
    shared.session_id = str(uuid4())
    return shared.open()


def test_budget_ends_a_query(bridge, cli) -> None:
    """A query that exceeds its budget ends with an error result, and the next one works."""
    limited = bridge.turn("hello", max_budget_usd=0.000001)
    assert "1e-06" == cli.option("--max-budget-usd")
    assert "error_max_budget_usd" == limited.result["subtype"]
    assert "echo: free" == bridge.turn("free").text


def test_budget_is_for_each_query_alone(bridge) -> None:
    """The cost of earlier queries does not count, although the CLI adds it up."""
    cost = bridge.turn("hello").result["total_cost_usd"]
    turns = [bridge.turn("hello", max_budget_usd=cost * 2) for _ in range(4)]
    assert ["echo: hello"] * 4 == [turn.text for turn in turns]
    assert turns[-1].result["total_cost_usd"] > cost * 3


def test_output_format_is_asked_of_the_model(bridge, cli, model) -> None:
    """A schema becomes a tool by which the model must answer."""
    before = len(model.requests)
    bridge.turn("hello", output_format={"type": "json_schema", "schema": _SCHEMA})
    tools = [tool for request in model.requests[before:] for tool in request.body["tools"]]
    schemas = [tool["input_schema"] for tool in tools if tool["name"] == "StructuredOutput"]
    assert "city" in schemas[0]["properties"]
    assert '"city"' in cli.option("--json-schema")


def test_unknown_field_of_a_subagent_is_named(bridge) -> None:
    """An unknown field of a subagent is an error; the CLI would ignore it."""
    agent = {"description": "x", "prompt": "y", "tolls": []}
    turn = bridge.turn("hello", subagents={"odd": agent})
    assert ['The subagent "odd" has unknown fields: tolls'] == turn.errors


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"max_budget_usd": 1.0}, "maxBudgetUsd"),
        ({"output_format": {"type": "json_schema", "schema": _SCHEMA}}, "outputFormat"),
    ],
)
def test_claude_code_refuses_unsupported_features(model, tmp_path, setting, name) -> None:
    """claude-code refuses with an error that names claude-agent, and serves the next query."""
    with start_bridge("claude-code", tmp_path, model.url) as bridge:
        turn = bridge.open().turn("hello", **setting)
        assert [f"The engine claude-code can't do {name}: use claude-agent for it"] == turn.errors
        assert "echo: hello" == bridge.turn("hello").text
