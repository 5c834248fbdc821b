"""The Quart app: every route that does not stream."""

from collections.abc import Callable
from typing import Any, cast

from hypercorn.typing import HTTPScope
from msgspec import Struct
from quart import Blueprint, Response, g, request
from quart_trio import QuartTrio

from ash.agents import Agents
from ash.authentication import ApiKeys, Tickets
from ash.http import agent_routes, file_routes, session_routes
from ash.http.asgi import identify
from ash.http.large_bodies import MAX_JSON, AppRequest
from ash.http.responses import add_error_handlers, json_response
from ash.requests.large_messages import MessageReader
from ash.sessions.files import SessionFiles
from ash.sessions.service import Sessions

Health = Callable[[], dict[str, Any]]


class Services(Struct, frozen=True):
    """What the routes call."""

    agents: Agents
    sessions: Sessions
    files: SessionFiles
    keys: ApiKeys
    tickets: Tickets
    health: Health
    message_reader: MessageReader


def make_app(services: Services) -> QuartTrio:
    app = QuartTrio("ash", static_folder=None)
    app.request_class = AppRequest
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON
    # No time limit in Quart: the connection has its own, and a command may run for minutes.
    app.config["RESPONSE_TIMEOUT"] = app.config["BODY_TIMEOUT"] = None
    app.url_map.strict_slashes = False
    for blueprint in (
        agent_routes.agent_routes(services.agents),
        session_routes.session_routes(services.sessions),
        session_routes.lifecycle_routes(services.sessions),
        session_routes.ticket_routes(services.sessions, services.tickets),
        file_routes.file_routes(services.files),
        health_routes(services.health),
    ):
        app.register_blueprint(blueprint)
    # `Front` answers this route; it is known here for the `Allow` of a 405 on its path.
    messages = app.url_rule_class(
        "/api/sessions/<session_id>/messages", methods=["GET", "POST"], endpoint="front"
    )
    app.url_map.add(messages)

    @app.before_request
    async def authenticate() -> None:
        if request.path.startswith("/api/") and request.method != "OPTIONS":
            header = request.headers.get("Authorization")
            # Quart decodes headers as Latin-1; encoding it again gives the bytes that were sent.
            g.tenant = services.keys.tenant_of(None if header is None else header.encode("latin-1"))
            identify(cast("HTTPScope", request.scope), g.tenant)

    add_error_handlers(app)
    return app


def health_routes(health: Health) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    async def show() -> Response:
        return json_response(**health())

    return routes
