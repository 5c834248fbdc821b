"""What reaches the model as its system prompt, and what as a memory, on the real CLI."""

import json
from uuid import uuid4

import pytest

from ash.testing import StubModel, Use
from tests.support.bridge import Bridge, start_bridge

pytestmark = pytest.mark.cli

CRITIC = {"description": "Judges poems", "prompt": "You judge poems."}


def by_rule(request):
    """Reads the file that it is asked to read."""
    path = request.text.removeprefix("READ: ")
    if request.tool_result or path == request.text:
        return None
    return Use("Read", {"file_path": f"{request.cwd}/{path}"})


@pytest.fixture(scope="module")
def model():
    with StubModel.in_thread(answer=by_rule) as model:
        yield model


@pytest.fixture(scope="module")
def shared(engine, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{engine} (odd, [name])")
    with start_bridge(engine, folder, model.url) as bridge:
        yield bridge, folder


@pytest.fixture
def bridge(shared) -> Bridge:
    """A bridge with a new conversation id; the test opens it."""
    shared[0].session_id = str(uuid4())
    return shared[0]


@pytest.fixture
def folder(shared):
    """The workspace of an agent that has all kinds of instructions."""
    top = shared[1]
    files = {
        "CLAUDE.md": "of a folder above",
        "workspace/CLAUDE.md": "You are ROOT. @docs/odd{name}.md",
        "workspace/docs/odd{name}.md": "of an import",
        "workspace/.claude/CLAUDE.md": "of .claude, with @../docs/odd{name}.md",
        "workspace/.claude/rules/always.md": "of a rule",
        "workspace/.claude/rules/some.md": "---\npaths: src/**\n---\nof a rule for some files",
        "workspace/.claude/settings.json": "{}",
        "workspace/.claude/agents/critic.md": (
            "---\nname: critic\ndescription: Judges poems\n---\nYou judge poems."
        ),
        "workspace/.claude/skills/rhyme/SKILL.md": (
            "---\nname: rhyme\ndescription: Finds rhymes\n---\nRhyme."
        ),
        "workspace/.claude/commands/hail.md": "Hail $ARGUMENTS",
        "workspace/CLAUDE.local.md": "of the local file",
        "workspace/src/CLAUDE.md": "of a folder below",
        "workspace/src/code.py": "x = 1",
        "home/.claude/CLAUDE.md": "of the home",
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top / "workspace"


@pytest.fixture
def asked(model, bridge):
    """`asked(prompt)`: the system prompt and all else that the model got with it."""

    def asked(prompt="hello"):
        bridge.turn(prompt)
        request = [each for each in model.requests if each.body.get("stream")][-1]
        return request.body["system"][-1]["text"], json.dumps(request.body["messages"])

    return asked


PROMPT = "You are ROOT. @docs/odd{name}.md\n\nContents of docs/odd{name}.md:\n\nof an import"


def test_claude_md_is_the_system_prompt(bridge, folder, asked):
    """With its imports, and not as a memory too; other instructions stay memories."""
    bridge.open()
    system, messages = asked()
    assert PROMPT == system
    for memory in ("of .claude", "of a rule", "of the local file", "of the home"):
        assert 1 == messages.count(f"\\n\\n{memory}"), memory
    for other in ("ROOT", "of an import", "of a folder", "for some files"):
        assert other not in messages
    for kept in ("critic: Judges poems", "rhyme: Finds rhymes"):
        assert kept in messages


def test_instructions_for_a_folder_come_with_its_files(bridge, folder, asked):
    """When the agent reads a file there; its CLAUDE.md of the top comes no second time."""
    bridge.open()
    system, messages = asked("READ: src/code.py")
    assert PROMPT == system
    assert "of a folder below" in messages
    assert "of a rule for some files" in messages
    assert "ROOT" not in messages


def test_commands_and_hooks_of_the_folder_work(bridge, folder, asked):
    """The folder's settings are loaded as they were."""
    hook = {"hooks": [{"type": "command", "command": "echo ran > hook-ran"}]}
    settings = {"hooks": {"UserPromptSubmit": [hook]}, "permissions": {"deny": ["Bash(ls:*)"]}}
    (folder / ".claude" / "settings.json").write_text(json.dumps(settings))
    bridge.open()
    _, messages = asked("/hail Caesar")
    assert "Hail Caesar" in messages
    assert "ran\n" == (folder / "hook-ran").read_text()
    denied = bridge.turn("BASH: ls").result["permission_denials"]
    assert ["Bash"] == [denial["tool_name"] for denial in denied]


def test_sessions_own_prompt_replaces_it(bridge, folder, asked):
    """Nothing of the agent's CLAUDE.md reaches the model, whatever its config says."""
    for preset in (False, True):
        bridge.open(system_prompt="You are MINE.", preset=preset)
        system, messages = asked()
        assert "You are MINE." == system
        assert "You are MINE." == (folder / "CLAUDE.md").read_text()
        assert "ROOT" not in messages
        assert "of a rule" in messages


def test_claude_codes_own_prompt_can_be_had(bridge, folder, asked):
    """CLAUDE.md is a memory then, as `claude` has it."""
    bridge.open(preset=True)
    system, messages = asked()
    assert "ROOT" not in system
    assert len(system) > 1000
    assert 1 == messages.count("You are ROOT.")
    assert 1 == messages.count("of an import")
    assert "of a folder above" not in messages


def test_conversation_that_began_with_claude_codes_prompt_gets_claude_md(bridge, folder, asked):
    """As a session of an older ash. What was said stays in it, the old memory too."""
    bridge.open(preset=True)
    asked()
    bridge.resume(bridge.session_id)
    system, messages = asked()
    assert PROMPT == system
    assert 1 == messages.count("You are ROOT.")


@pytest.mark.parametrize("by", ["session", "settings"])
def test_subagent_that_leads_brings_its_own_prompt(bridge, folder, asked, by):
    """CLAUDE.md is a memory then, as with `claude --agent`."""
    if by == "settings":
        (folder / ".claude" / "settings.json").write_text('{"agent": "critic"}')
        bridge.open()
    else:
        bridge.open(subagents={"judge": CRITIC}, initial_agent="judge")
    system, messages = asked()
    assert "You judge poems." == system
    assert 1 == messages.count("You are ROOT.")


def test_prompt_is_read_when_the_engine_starts(bridge, folder, asked):
    """A conversation that is resumed has what the file says then, and no older text."""
    bridge.open()
    assert PROMPT == asked()[0]
    (folder / "CLAUDE.md").write_text("You are NEW.")
    assert PROMPT == asked()[0]
    bridge.turn("an engine of its own", max_turns=3)
    system, messages = asked()
    assert "You are NEW." == system
    assert "ROOT" not in messages


def test_what_has_no_effect_is_in_the_log(bridge, folder):
    """An import that is lost, and a style of Claude Code's own prompt."""
    (folder / "CLAUDE.md").write_text("See @../CLAUDE.md")
    (folder / ".claude" / "settings.json").write_text('{"outputStyle": "Explanatory"}')
    bridge.open()
    assert "outputStyle has no effect" in bridge.log
    assert "CLAUDE.md: @../CLAUDE.md is left out: it is outside of the agent's" in bridge.log


def test_prompt_that_cannot_be_read_starts_no_engine(bridge, folder):
    """The error says what to do, and the agent is not another one meanwhile."""
    (folder / "CLAUDE.md").write_text("You are", encoding="utf-16")
    with pytest.raises(AssertionError, match=r"CLAUDE\.md can't be the system prompt: it is not"):
        bridge.open()
