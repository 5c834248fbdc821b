"""What a session is made of, from what was asked and what is stored."""

import pytest
from msgspec import Raw, structs

from ash.agents import agent_config
from ash.model import Agent, StoredAgent
from ash.protocol import Query
from ash.session_options import SessionOptions
from ash.sessions import session_spec
from ash.sessions.remembered import Said
from ash.sessions.session_spec import NewSession

CONVERSATION = "4f7f6bd5-4fd1-4a0c-9a4e-0f9c1d4be000"
AGENT = StoredAgent(
    source="/agents/a",
    agent=Agent(
        id="i",
        name="a",
        tenant_id="t",
        version=3,
        path="/a",
        created_at="c",
        updated_at="u",
        model="agent's",
    ),
)


def stored(**options):
    wanted = NewSession(agent="a", options=SessionOptions(**options))
    return session_spec.new_session("s", AGENT, wanted, mode="default", owner="me", now="now")


def filled_in(session, **options):
    query = Query(prompt=Raw(b""), session_id="s", **options)
    session_spec.fill_in(query, session)
    return query


def test_new_session_shows_what_its_owner_may_change():
    """Options that were given empty are as good as not given."""
    session = stored(model="m", allowed_tools=[], betas=["b"], system_prompt="p").session
    assert ("m", {"betas": ["b"]}) == (session.model, session.config)
    assert stored(system_prompt="p").session.config is None


@pytest.mark.parametrize(
    ("changes", "model", "config"),
    [
        ({}, "m", {"betas": ["b"], "initialAgent": "x"}),
        ({"model": None}, None, {"betas": ["b"], "initialAgent": "x"}),
        ({"model": "n", "betas": None}, "n", {"initialAgent": "x"}),
        ({"allowed_tools": [], "betas": None, "initial_agent": None}, "m", {"allowedTools": []}),
        ({"betas": None, "initial_agent": None}, "m", None),
    ],
)
def test_session_configured(changes, model, config):
    """What is not among the changes stays; None takes an option back."""
    session = stored(model="m", betas=["b"], initial_agent="x").session
    assert (model, config) == session_spec.configured(session, changes)


@pytest.mark.parametrize(("asked", "model"), [("m", "m"), ("", "agent's"), (None, "agent's")])
def test_engine_is_opened_with_the_session_s_model_or_the_agent_s(asked, model):
    """A session that asks for none has the agent's."""
    session = stored(model=asked)
    assert model == session_spec.opening(AGENT, session).model
    assert model == session_spec.resuming(AGENT, session).model


def test_session_of_an_unknown_agent_reaches_only_the_model():
    """Its agent's policy is gone with the agent: it may have been a closed one."""
    agent = session_spec.unknown_agent(stored())
    assert ("a", "t", 3) == (agent.agent.name, agent.agent.tenant_id, agent.agent.version)
    assert "model-only" == agent_config(agent).network


@pytest.mark.parametrize("preset", [False, True])
def test_engine_is_told_whose_system_prompt_it_has(preset):
    """Claude Code's own, if the agent's config asks for it."""
    config = {"systemPrompt": "claude-code"} if preset else {}
    agent = structs.replace(AGENT, agent=structs.replace(AGENT.agent, config=config))
    assert preset == session_spec.opening(agent, stored()).preset
    assert preset == session_spec.resuming(agent, stored()).preset


def test_engine_is_told_nothing_of_the_limits():
    """They are the sandbox's."""
    session = stored(limits={"memoryMb": 64})
    assert {"memoryMb": 64} == session.settings.limits
    assert not hasattr(session_spec.opening(AGENT, session), "limits")


@pytest.mark.parametrize(("asked", "model"), [("n", "n"), ("", "m"), (None, "m")])
def test_message_has_its_own_model_or_the_session_s(asked, model):
    """It goes before the session's; what else the session is configured with comes along."""
    query = filled_in(stored(model="m", betas=["b"]).session, model=asked)
    assert (model, ["b"]) == (query.model, query.betas)


@pytest.mark.parametrize(
    ("conversation", "said", "expected"),
    [
        (None, Said(), (None, None, False, True)),
        ("not a uuid", Said(), (None, None, False, True)),
        (CONVERSATION, Said("u", CONVERSATION), (CONVERSATION, "u", True, False)),
        (CONVERSATION, Said(), (CONVERSATION, None, True, False)),
        (CONVERSATION, Said(cleared=True), (CONVERSATION, None, False, False)),
    ],
)
def test_resume_goes_on_with_the_session_s_conversation(conversation, said, expected):
    """And no more with that of its parent, once it has one of its own."""
    session = stored()
    session.settings.fork, session.conversation = [{"sessionId": CONVERSATION}], conversation
    command = session_spec.resuming(AGENT, session, said)
    found = (command.conversation, command.last, command.began, command.fork is not None)
    assert expected == found
