"""Tickets open one stream of one tenant, for a while."""

import pytest

from ash.authentication import CONNECT_SECONDS, RECONNECT_SECONDS, Tickets
from ash.errors import Unauthorized

SESSION = "5e551017-0000-4000-8000-000000000000"


class Clock:
    def __init__(self):
        self.time = 1e9

    def now(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tickets(clock):
    return Tickets(b"secret", clock)


@pytest.fixture
def ticket(tickets):
    return tickets.issue("a:tenant", SESSION).ticket


def test_ticket_tells_whose_it_is(tickets, ticket):
    """It needs nothing but the server's secret to be understood."""
    assert "a:tenant" == tickets.tenant_of(ticket, SESSION, again=False)


def test_ticket_fits_into_an_address(ticket):
    """As it is, without escapes."""
    assert set(ticket) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_ticket_is_for_one_session(tickets, ticket):
    """No other stream is opened by it."""
    with pytest.raises(Unauthorized, match="does not open this stream"):
        tickets.tenant_of(ticket, "another", again=False)


def test_ticket_is_for_one_server(clock, ticket):
    """Another secret does not know it."""
    with pytest.raises(Unauthorized, match="does not open this stream"):
        Tickets(b"other", clock).tenant_of(ticket, SESSION, again=False)


@pytest.mark.parametrize("bad", ["", ".", "x", "é.é", "a.b.c", "MTow.", "%00.%00"])
def test_ticket_that_is_none_is_refused(tickets, bad):
    """Whatever it is."""
    with pytest.raises(Unauthorized, match="does not open this stream"):
        tickets.tenant_of(bad, SESSION, again=True)


def test_ticket_can_not_be_changed(tickets, ticket):
    """Neither the tenant nor the time, by a single character."""
    claim, _, signature = ticket.partition(".")
    for position in range(len(claim)):
        letter = "A" if claim[position] != "A" else "B"
        changed = f"{claim[:position]}{letter}{claim[position + 1 :]}.{signature}"
        with pytest.raises(Unauthorized):
            tickets.tenant_of(changed, SESSION, again=True)


def test_ticket_has_to_be_used_soon(tickets, ticket, clock):
    """A minute to connect, ten for a browser that comes back by itself."""
    clock.time += CONNECT_SECONDS
    tickets.tenant_of(ticket, SESSION, again=False)
    clock.time += 1
    with pytest.raises(Unauthorized, match="expired: ask for another"):
        tickets.tenant_of(ticket, SESSION, again=False)
    clock.time += RECONNECT_SECONDS - CONNECT_SECONDS - 1
    tickets.tenant_of(ticket, SESSION, again=True)
    clock.time += 1
    with pytest.raises(Unauthorized, match="expired"):
        tickets.tenant_of(ticket, SESSION, again=True)


def test_ticket_says_until_when(tickets):
    """In the API's form of time."""
    assert "2001-09-09T01:47:40.000Z" == tickets.issue("t", SESSION).expires_at
