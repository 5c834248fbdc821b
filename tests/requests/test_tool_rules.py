"""Which permission rules a session may be given."""

import msgspec
import pytest

from ash.errors import BadRequest
from ash.requests.parsing import decode
from ash.requests.sessions import ConfigureSession, CreateSession, changed_options, new_session

NAMES = ["allowedTools", "disallowedTools"]


def warnings(name, *rules):
    """Of a session that is made with these rules, and of one that gets them later."""
    body = {"agent": "helper", name: rules}
    made = decode(msgspec.json.encode(body), msgspec.json.Decoder(CreateSession))
    changed = decode(msgspec.json.encode({name: rules}), msgspec.json.Decoder(ConfigureSession))
    (_, of_new), (_, of_changed) = new_session(made), changed_options(changed)
    assert of_new == of_changed
    return of_new


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("bash", "tools begin with a capital letter: Bash"),
        ("BASH", 'there is no tool BASH; did you mean "Bash"?'),
        ("web_fetch", 'there is no tool web_fetch; did you mean "WebFetch"?'),
        ("Write,Bahs", 'there is no tool Bahs; did you mean "Bash"?'),
        ("Bash(rm", "a rule is Tool or Tool(content) and ends at the closing parenthesis"),
        ("Bash(f(a) b)", "a rule is Tool or Tool(content) and ends at the closing parenthesis"),
        ("Bash()", "nothing stands in the parentheses; leave them out"),
        ("", "it is empty"),
        (" ", "it is empty"),
    ],
)
def test_rule_that_the_cli_would_skip_is_refused(name, rule, why):
    """The tool would run that was to be denied."""
    with pytest.raises(BadRequest) as refused:
        warnings(name, "Read", rule)
    assert f'{name}: the CLI would skip "{rule}": {why}' == refused.value.text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "rule",
    ["Bash", " Bash", "Bash(rm -rf, x:*)", "Bash Write, Read", "mcp__tools__bash", "mcp__tools"],
)
def test_rule_that_the_cli_understands_is_taken(name, rule):
    """Also several in one text, as the CLI splits them."""
    assert [] == warnings(name, rule)


@pytest.mark.parametrize("name", NAMES)
def test_rule_for_a_tool_that_is_not_known_is_a_warning(name):
    """A newer CLI may have it."""
    said = f'{name}: the rule "Teleport(x)" may not match: there is no tool Teleport'
    assert [said] == warnings(name, "Teleport(x)")


def test_wildcard_may_deny():
    """The CLI takes it as a name in deny rules only."""
    assert [] == warnings("disallowedTools", "Web*", "*")
    with pytest.raises(BadRequest, match="a wildcard as the tool's name can't allow"):
        warnings("allowedTools", "Web*")


def test_warnings_of_many_rules_are_bounded():
    """An answer does not repeat a long request."""
    assert 20 == len(warnings("allowedTools", *["Teleport"] * 50))
    with pytest.raises(BadRequest, match="allowedTools: more than 20 tools are unknown"):
        warnings("allowedTools", *[f"Teleport{number}" for number in range(21)])


@pytest.mark.parametrize("change", [None, ["Read"]])
def test_other_changes_are_kept(change):
    """Null takes the rules back."""
    wanted = ConfigureSession(disallowed_tools=change)
    assert ({"disallowed_tools": change}, []) == changed_options(wanted)
