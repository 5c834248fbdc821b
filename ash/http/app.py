"""The Quart app: every route but the hot one, with the same keys and the same errors."""

from quart import Blueprint, Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from ash.errors import AshError
from ash.http.responses import UNEXPECTED, Health, Services, answer, error_body
from ash.http.routes import agents, files, sessions
from ash.http.uploads import AppRequest
from ash.log import get_logger
from ash.requests.messages import MAX_BODY


def health_routes(health: Health) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    async def show() -> Response:
        return answer(**health())

    return routes


log = get_logger()


def make_app(services: Services) -> QuartTrio:
    app = QuartTrio("ash", static_folder=None)
    app.request_class = AppRequest
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    # A response may take as long as its turn, a body as long as its client.
    app.config["RESPONSE_TIMEOUT"] = app.config["BODY_TIMEOUT"] = None
    app.url_map.strict_slashes = False
    for blueprint in (
        agents.agent_routes(services.agents),
        sessions.session_routes(services.sessions),
        sessions.lifecycle_routes(services.sessions),
        sessions.ticket_routes(services.sessions, services.tickets),
        files.file_routes(services.files),
        health_routes(services.health),
    ):
        app.register_blueprint(blueprint)

    @app.before_request
    async def authenticate() -> None:
        if request.path.startswith("/api/") and request.method != "OPTIONS":
            header = request.headers.get("Authorization")
            # Quart reads headers as Latin-1: this gives back the bytes that were sent.
            g.tenant = services.keys.tenant_of(None if header is None else header.encode("latin-1"))

    app.register_error_handler(AshError, _ash_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


async def _ash_error(error: AshError) -> Response:
    return _error(error.status, error.text, error.headers)


async def _http_error(error: HTTPException) -> Response:
    """What Quart itself refuses: unknown routes, wrong methods, bodies too large."""
    status = error.code or 500
    texts = {
        404: f"There is no route {request.method} {request.path}",
        405: f"{request.method} is not allowed on {request.path}",
        413: f"The body is larger than {(request.max_content_length or 0) // 1024**2} MB",
    }
    allow = {n: v for n, v in error.get_headers() if n.lower() == "allow"}
    return _error(status, texts.get(status, error.description or "Unexpected failure"), allow)


async def _unexpected(error: Exception) -> Response:
    log.error("http.failed", method=request.method, path=request.path, exc_info=error)
    return _error(500, UNEXPECTED, {})


def _error(status: int, text: str, headers: dict[str, str]) -> Response:
    return Response(
        error_body(status, text), status, {"Content-Type": "application/json", **headers}
    )
