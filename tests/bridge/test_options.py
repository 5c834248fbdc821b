"""The settings of a session or a query reach the CLI, and through it the model."""

import json
import shlex
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from ash.testing import Fail, StubModel
from tests.support.bridge import Bridge, RecordedCli, Turn, start_bridge

pytestmark = pytest.mark.cli


@pytest.fixture(scope="module")
def cli(engine, tmp_path_factory) -> RecordedCli:
    return RecordedCli(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def shared(engine, cli, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(engine)
    env = {"CLAUDE_CODE_EXECUTABLE": str(cli.path)}
    with start_bridge(engine, folder, model.url, **env) as bridge:
        yield bridge


@pytest.fixture
def bridge(shared) -> Bridge:
    """A bridge with a new conversation id and no CLAUDE.md; the test opens it."""
    shared.session_id = str(uuid4())
    Path(f"/proc/{shared.process.pid}/cwd/CLAUDE.md").unlink(missing_ok=True)
    return shared


@pytest.fixture
def asked(model):
    """`asked()`: the model's requests since the test began."""
    before = len(model.requests)
    return lambda: [request for request in model.requests[before:] if request.body.get("stream")]


@pytest.fixture
def workspace(bridge) -> Path:
    return Path(f"/proc/{bridge.process.pid}/cwd").readlink()


def test_new_conversation_has_the_session_id(bridge, cli) -> None:
    """The CLI uses the daemon's id for the conversation."""
    bridge.open()
    assert bridge.session_id == cli.option("--session-id")
    assert not [word for word in cli.argv if word.startswith("--resume")]


def test_resumed_conversation_is_named(bridge, cli) -> None:
    """A conversation on disk is resumed, not begun anew."""
    bridge.open().turn("hello")
    bridge.turn("again", max_turns=2)
    assert bridge.session_id == cli.option("--resume")
    assert not [word for word in cli.argv if word.startswith("--session-id")]


def test_agents_own_settings_are_read(bridge, cli, asked, workspace) -> None:
    """The model sees the instructions of the agent's folder."""
    (workspace / "CLAUDE.local.md").write_text("Always rhyme.")
    try:
        bridge.open().turn("hello")
    finally:
        (workspace / "CLAUDE.local.md").unlink()
    assert "user,project,local" == cli.option("--setting-sources")
    assert "Always rhyme." in json.dumps(asked()[0].body)


def test_model(bridge, cli, asked) -> None:
    """The session's model answers; without one the CLI chooses."""
    bridge.open(model="claude-sonnet-4-5").turn("hello")
    assert "claude-sonnet-4-5" == cli.option("--model") == asked()[0].body["model"]


def test_model_of_a_query_needs_no_new_process(bridge, cli, asked) -> None:
    """A query's model is set while the CLI runs."""
    bridge.open().turn("hello")
    process = cli.pid
    bridge.turn("hello", model="claude-sonnet-4-5")
    assert "claude-sonnet-4-5" == asked()[-1].body["model"]
    assert process == cli.pid


@pytest.mark.parametrize("prompt", ["You are a parrot.\n", "Long. " * 50_000])
def test_system_prompt(bridge, asked, prompt) -> None:
    """The session's system prompt replaces the CLI's, however long it is."""
    bridge.open(system_prompt=prompt).turn("hello")
    assert prompt == _system(asked()[-1])


def test_no_system_prompt_means_the_clis_own(bridge, asked) -> None:
    """Without a system prompt the CLI uses its own, not an empty one."""
    bridge.open().turn("hello")
    assert len(_system(asked()[-1])) > 1000


def test_changed_system_prompt_holds_in_a_resumed_conversation(bridge, asked) -> None:
    """A resumed conversation uses the new system prompt, not the recorded one."""
    for prompt in ("You are one.", "You are two.", None):
        bridge.resume(bridge.session_id, system_prompt=prompt, preset=True).turn("hello")
    systems = [_system(request) for request in asked()]
    assert ["You are one.", "You are two."] == systems[:2]
    assert "You are two." not in systems[2]


def test_mcp_server_by_url(bridge, model) -> None:
    """A server with a url is used over HTTP."""
    before = len(model.requests)
    servers = {"web": {"url": f"{model.url}/mcp"}, "old": {"url": f"{model.url}/sse"}}
    turn = bridge.open(mcp_servers=servers).turn("hello")
    calls = {(request.method, request.path) for request in model.requests[before:]}
    assert {("POST", "/mcp"), ("GET", "/sse")} <= calls
    assert {"web", "old"} <= {server["name"] for server in turn.messages[0]["mcp_servers"]}


def test_mcp_server_by_command(bridge, cli, workspace) -> None:
    """A server with a command is started with its arguments and environment."""
    code = "import os,sys; open('mcp-ran','w').write(sys.argv[1] + os.environ['TOKEN'])"
    server = {"command": sys.executable, "args": ["-c", code, "one"], "env": {"TOKEN": "-two"}}
    bridge.open(mcp_servers={"local": server}).turn("BASH: until test -s mcp-ran; do :; done")
    assert "one-two" == (workspace / "mcp-ran").read_text()
    assert "-two" not in shlex.join(cli.argv)


def test_bypassed_permissions_let_tools_run(bridge, cli) -> None:
    """With bypassed permissions every tool runs."""
    turn = bridge.open(permission_mode="bypassPermissions").turn(
        "BASH: touch bypassed; ls bypassed"
    )
    assert "bypassPermissions" == cli.option("--permission-mode")
    assert "done: bypassed" == turn.text


def test_default_permissions_deny_at_once(bridge, cli) -> None:
    """A tool that needs a permission is refused at once, and the turn goes on."""
    turn = bridge.open(permission_mode="default").turn("BASH: touch refused")
    assert "default" == cli.option("--permission-mode")
    assert ["Bash"] == _denied(turn)
    assert turn.text.startswith("failed: ")


def test_permissions_by_agent_are_those_of_its_settings(bridge, cli, workspace) -> None:
    """The settings in the agent's folder decide, and no flag overrides them."""
    settings = workspace / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"permissions":{"allow":["Bash(touch granted)"]}}')
    try:
        bridge.open(permission_mode="permissionsByAgent")
        assert [] == _denied(bridge.turn("BASH: touch granted"))
        assert ["Bash"] == _denied(bridge.turn("BASH: touch other"))
    finally:
        settings.unlink()
    assert "--permission-mode" not in cli.argv


def test_allowed_tools_need_no_permission(bridge, cli) -> None:
    """Listed tools run; others still need a permission."""
    bridge.open(permission_mode="default", allowed_tools=["Bash(touch this)", "Read"])
    assert [] == _denied(bridge.turn("BASH: touch this"))
    assert ["Bash"] == _denied(bridge.turn("BASH: touch that"))
    assert "Bash(touch this),Read" == cli.option("--allowedTools")


def test_allowed_tools_of_a_query_hold_for_it(bridge) -> None:
    """A query's list replaces the session's for that query only."""
    bridge.open(permission_mode="default")
    assert [] == _denied(bridge.turn("BASH: touch now", allowed_tools=["Bash"]))
    assert ["Bash"] == _denied(bridge.turn("BASH: touch then"))


def test_disallowed_tools_are_not_offered(bridge, cli, asked) -> None:
    """The model does not see disallowed tools, even if they are permitted."""
    turn = bridge.open(disallowed_tools=["Bash", "Write"]).turn("BASH: true")
    assert "tool Bash is not offered" == turn.text
    assert not {"Bash", "Write"} & set(asked()[0].tools)
    assert "Bash,Write" == cli.option("--disallowedTools")


def test_betas_are_sent_to_the_model(bridge, asked) -> None:
    """All betas are sent, whether the CLI knows them or not."""
    betas = ["context-1m-2025-08-07", "something-new-2027-01-01"]
    bridge.open(betas=betas).turn("hello")
    assert set(betas) <= set(asked()[0].headers["anthropic-beta"].split(","))


def test_subagents_are_offered(bridge, asked) -> None:
    """The model sees each subagent's name and description."""
    critic = {"description": "Judges poems", "prompt": "You judge poems.", "tools": ["Read"]}
    turn = bridge.open(subagents={"critic": critic}).turn("hello")
    assert "critic" in turn.messages[0]["agents"]
    assert "Judges poems" in json.dumps(asked()[0].body)


def test_initial_agent_leads_the_conversation(bridge, cli, asked) -> None:
    """The initial agent's prompt becomes the system prompt."""
    critic = {"description": "Judges poems", "prompt": "You judge poems."}
    bridge.open(subagents={"critic": critic}, initial_agent="critic").turn("hello")
    assert "critic" == cli.option("--agent")
    assert "You judge poems." == _system(asked()[0])


def test_max_turns_end_a_query(bridge, cli) -> None:
    """A query that needs more steps ends with an error result, and the next one works."""
    bridge.open()
    limited = bridge.turn("BASH: true", max_turns=1)
    assert "1" == cli.option("--max-turns")
    assert "error_max_turns" == limited.result["subtype"]
    assert "done: free" == bridge.turn("BASH: echo free").text


def test_max_turns_count_for_each_query_alone(bridge, cli) -> None:
    """Each query's steps are counted from zero, although the process is the same."""
    bridge.open()
    texts, processes = [], set()
    for _ in range(3):
        texts.append(bridge.turn("BASH: echo on", max_turns=2).text)
        processes.add(cli.pid)
    assert ["done: on"] * 3 == texts
    assert 1 == len(processes)


def test_effort(bridge, cli, asked) -> None:
    """The effort is in the request to the model."""
    bridge.open().turn("hello", effort="low")
    assert "low" == cli.option("--effort")
    assert "low" == asked()[0].body["output_config"]["effort"]


def test_thinking(bridge, cli) -> None:
    """Each kind of thinking has its flag, and both spellings of the budget work."""
    bridge.open()
    for thinking, flag, value in (
        ({"type": "disabled"}, "--thinking", "disabled"),
        ({"type": "adaptive"}, "--thinking", "adaptive"),
        ({"type": "enabled", "budgetTokens": 2048}, "--max-thinking-tokens", "2048"),
        ({"type": "enabled", "budget_tokens": 4096}, "--max-thinking-tokens", "4096"),
    ):
        bridge.turn("hello", thinking=thinking)
        assert value == cli.option(flag)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mcp_servers": {"odd": {"args": []}}}, '"odd" needs either a url or a command'),
        ({"subagents": {"odd": {"description": "x"}}}, '"odd" needs a description and a prompt'),
    ],
)
def test_setting_that_makes_no_sense_is_named(bridge, settings, words) -> None:
    """An invalid setting is an error that names it, and no engine starts."""
    with pytest.raises(AssertionError, match=words):
        bridge.open(**settings)


def test_query_that_makes_no_sense_is_an_error_of_it(bridge) -> None:
    """An invalid query is an error that names the field, and the next query works."""
    bridge.open()
    for settings, words in (
        ({"thinking": {"type": "loud"}}, "thinking must have the type"),
        ({"thinking": {"type": "enabled"}}, "needs budgetTokens"),
        ({"output_format": {"type": "xml"}}, "outputFormat"),
    ):
        turn = bridge.turn("hello", **settings)
        assert words in turn.errors[0]
    assert "echo: hello" == bridge.turn("hello").text


def test_model_that_does_not_exist_is_an_error_of_its_query(engine, tmp_path) -> None:
    """An unknown model is an error; the next query has the session's model."""

    def rule(request):
        return Fail(404) if request.body["model"] == "no-such-model" else None

    with (
        StubModel.in_thread(answer=rule) as model,
        start_bridge(engine, tmp_path, model.url) as bridge,
    ):
        turn = bridge.open().turn("hello", model="no-such-model")
        assert turn.errors[0].startswith("The model 'no-such-model' can't be used: ")
        assert "echo: hello" == bridge.turn("hello").text


def test_session_id_must_be_a_uuid(bridge) -> None:
    """A session id that is no UUID is refused: it becomes part of a path."""
    bridge.session_id = "../../elsewhere"
    with pytest.raises(AssertionError, match="must be a UUID"):
        bridge.open()


def _system(request) -> str:
    return request.body["system"][-1]["text"]


def _denied(turn: Turn) -> list[str]:
    return [denial["tool_name"] for denial in turn.result["permission_denials"]]
