from quart import Blueprint, Response

from ash.http.responses import answer
from ash.http.services import Health


def blueprint(health: Health) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    async def show() -> Response:
        return answer(**health())

    return routes
