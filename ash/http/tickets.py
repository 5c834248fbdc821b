"""`POST /api/sessions/:id/stream-ticket`: lets a browser's `EventSource` in."""

from quart import Blueprint, Response, g

from ash.http.responses import answer
from ash.sessions.service import Sessions
from ash.tickets import Tickets


def blueprint(sessions: Sessions, tickets: Tickets) -> Blueprint:
    routes = Blueprint("tickets", __name__, url_prefix="/api/sessions")

    @routes.post("/<session_id>/stream-ticket")
    async def issue(session_id: str) -> Response:
        session = await sessions.get(g.tenant, session_id)
        issued = tickets.issue(g.tenant, session.id)
        return answer(ticket=issued.ticket, expiresAt=issued.expires_at)

    return routes
