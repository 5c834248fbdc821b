"""The form of values in the API."""

import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ash.model import Agent, Session, iso

# From 1970 to 9999, the years with four digits.
TIMES = st.floats(0, 253_402_300_799)


def test_time_has_milliseconds_and_z():
    """Times are in UTC with milliseconds, truncated."""
    assert "2001-09-09T01:46:40.000Z" == iso(1e9)
    assert "1970-01-01T00:00:00.999Z" == iso(0.9999)


@given(TIMES, TIMES)
def test_times_sort_as_they_read(one, other):
    """Times sort as text, which the store relies on."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", iso(one))
    assert (iso(min(one, other)) <= iso(max(one, other))) is True


def test_promised_fields_are_null_when_empty():
    """A session always has all its fields."""
    session = Session(
        id="i",
        tenant_id="t",
        agent_name="a",
        sandbox_id="b",
        status="active",
        created_at="c",
        last_active_at="l",
    )
    shown = msgspec.json.decode(msgspec.json.encode(session))
    assert {
        "id": "i",
        "tenantId": "t",
        "agentName": "a",
        "sandboxId": "b",
        "status": "active",
        "createdAt": "c",
        "lastActiveAt": "l",
        "runnerId": None,
        "parentSessionId": None,
        "model": None,
        "config": None,
        "agentVersion": None,
    } == shown


def test_optional_fields_of_an_agent_are_left_out():
    """Fields that an agent does not have are left out."""
    agent = Agent(
        id="i", name="n", tenant_id="t", version=1, path="p", created_at="c", updated_at="u"
    )
    shown = msgspec.json.decode(msgspec.json.encode(agent))
    assert ["id", "name", "tenantId", "version", "path", "createdAt", "updatedAt"] == list(shown)
