"""The routes of agents: deploy, list, show, delete."""

import msgspec
from quart import Blueprint, Response, g

from ash.agents import Agents
from ash.http.deploys import read_deploy
from ash.http.responses import created, json_response
from ash.requests.agents import check, deploy


def agent_routes(agents: Agents) -> Blueprint:
    routes = Blueprint("agents", __name__, url_prefix="/api/agents")

    @routes.post("")
    async def post() -> Response:
        wanted, contents, unknown = await read_deploy()
        agent = await deploy(agents, g.tenant, wanted, contents, warnings=unknown)
        more = {"warnings": agent.warnings} if agent.warnings else {}
        agent = msgspec.structs.replace(agent, warnings=[])
        return created(f"/api/agents/{agent.name}", agent=agent, **more)

    @routes.post("/check")
    async def check_folder() -> Response:
        wanted, contents, unknown = await read_deploy()
        found = await check(agents, g.tenant, wanted, contents, warnings=unknown)
        return json_response(ok=found.ok, findings=found.findings)

    @routes.get("")
    async def find() -> Response:
        return json_response(agents=await agents.find(g.tenant))

    @routes.get("/<name>")
    async def get(name: str) -> Response:
        return json_response(agent=await agents.get(g.tenant, name))

    @routes.delete("/<name>")
    async def delete(name: str) -> Response:
        await agents.delete(g.tenant, name)
        return json_response(ok=True)

    return routes
