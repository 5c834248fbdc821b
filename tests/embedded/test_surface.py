"""`AshClient`, `AsyncAshClient` and `Ash` have the same calls: they come from one table."""

import inspect

import msgspec
import pytest

from ash import Ash, AshClient, AsyncAshClient
from ash.client import agent_calls as agents
from ash.client import sandbox_calls as inside
from ash.client import session_calls as sessions
from ash.client import stream_calls as streams
from ash.client.api import Api, Call, StreamCall
from ash.client.request import Request

TABLE = {name: call for name, call in vars(Api).items() if isinstance(call, Call | StreamCall)}


def with_(*arguments, **options):
    return arguments, options


# With these each call succeeds, in an order in which all of them do; ... is the session's id.
EXAMPLES = {
    "health": with_(),
    "deploy_agent": with_("helper", system_prompt="be kind"),
    "check_agent": with_("helper", files={"CLAUDE.md": "be kind"}),
    "list_agents": with_(),
    "get_agent": with_("helper"),
    "create_session": with_("helper"),
    "get_session": with_(...),
    "list_sessions": with_(),
    "configure_session": with_(..., model="m"),
    "list_messages": with_(...),
    "list_events": with_(...),
    "get_logs": with_(...),
    "exec": with_(..., "true"),
    "write_files": with_(..., {"a.txt": "text"}),
    "list_files": with_(...),
    "read_file": with_(..., "a.txt"),
    "delete_file": with_(..., "a.txt"),
    "interrupt_session": with_(...),
    "fork_session": with_(...),
    "pause_session": with_(...),
    "resume_session": with_(...),
    "stop_session": with_(...),
    "end_session": with_(...),
    "delete_agent": with_("helper"),
}


def described():
    """The public functions of the modules that describe calls."""
    return {
        name: function
        for module in (agents, inside, sessions, streams)
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }


def test_every_call_is_in_the_table():
    """Each call that is described is in the table under its own name, and nothing else is."""
    assert described() == {name: getattr(Api, name) for name in TABLE}


@pytest.mark.parametrize(
    "face",
    [Ash(), AshClient("http://x", "key"), AsyncAshClient("http://x", "key")],
    ids=lambda face: type(face).__name__,
)
def test_calls_look_like_functions(face):
    """Each method has the name, the parameters and the docstring of what describes the call."""
    for name, function in described().items():
        method = getattr(face, name)
        assert (name, function.__doc__) == (method.__name__, method.__doc__)
        assert inspect.signature(function) == inspect.signature(method)


async def test_answers_are_of_the_declared_type(ash, session):
    """The embedded library answers each call with the type that a client makes of its answer."""
    assert EXAMPLES.keys() == {name for name, call in TABLE.items() if isinstance(call, Call)}
    for name, (arguments, options) in EXAMPLES.items():
        given = [session if each is ... else each for each in arguments]
        answer = await getattr(ash, name)(*given, **options)
        declared = described()[name](*given, **options).result
        assert answer == msgspec.convert(answer, declared), name


async def test_request_without_an_answer_is_no_silent_none(ash):
    """A call that is described but not answered here is a mistake of ours, and looks like one."""
    for path in (("nowhere",), ("sessions", "x", "nowhere")):
        with pytest.raises(LookupError, match="nowhere"):
            await ash.ask(Request(method="GET", path=path, result=bytes))
