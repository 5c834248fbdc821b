import msgspec
from quart import Blueprint, Response, g

from ash.agents import PROMPT_FILE, Agents, Deployment
from ash.errors import BadRequest
from ash.http.answers import answer, body
from ash.http.requests import DeployAgent, check_config
from ash.model import Agent

_deploy = msgspec.json.Decoder(DeployAgent)


def blueprint(agents: Agents) -> Blueprint:
    routes = Blueprint("agents", __name__, url_prefix="/api/agents")

    @routes.post("")
    async def deploy() -> Response:
        return answer(201, agent=await _deploy_one(agents, await body(_deploy)))

    @routes.get("")
    async def find() -> Response:
        return answer(agents=await agents.find(g.tenant))

    @routes.get("/<name>")
    async def get(name: str) -> Response:
        return answer(agent=await agents.get(g.tenant, name))

    @routes.delete("/<name>")
    async def delete(name: str) -> Response:
        await agents.delete(g.tenant, name)
        return answer(ok=True)

    return routes


async def _deploy_one(agents: Agents, wanted: DeployAgent) -> Agent:
    settings = Deployment(env=wanted.env, config=wanted.config)
    check_config(wanted.config)
    given = [wanted.path, wanted.files, wanted.system_prompt]
    if sum(part is not None for part in given) != 1:
        raise BadRequest("Give exactly one of path, files and systemPrompt")
    if wanted.path is not None:
        return await agents.deploy_path(g.tenant, wanted.name, wanted.path, settings)
    if wanted.files is not None:
        files = {file.path: file.data() for file in wanted.files}
    else:
        files = {PROMPT_FILE: (wanted.system_prompt or "").encode()}
    return await agents.deploy_files(g.tenant, wanted.name, files, settings)
