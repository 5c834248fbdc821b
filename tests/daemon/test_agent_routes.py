"""The routes of agents, over a real connection."""

import base64
import json
import re

import pytest

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def file(path, text):
    return {"path": path, "content": base64.b64encode(text.encode()).decode()}


async def test_prompt_becomes_an_agent(us):
    """A system prompt alone is an agent; what is not there is left out."""
    response = await us.post("/api/agents", json={"name": "a", "systemPrompt": "be kind"})
    agent = response.json()["agent"]
    assert (201, ["agent"]) == (response.status_code, list(response.json()))
    assert {"id", "name", "tenantId", "version", "path", "createdAt", "updatedAt"} == set(agent)
    assert ("a", "default", 1) == (agent["name"], agent["tenantId"], agent["version"])
    assert UUID.fullmatch(agent["id"])
    assert TIME.fullmatch(agent["createdAt"])


async def test_folder_becomes_an_agent(us, tmp_path):
    """A folder of the server is deployed by its path."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "CLAUDE.md").write_text("be kind")
    response = await us.post("/api/agents", json={"name": "a", "path": str(tmp_path / "mine")})
    assert (201, str(tmp_path / "mine")) == (response.status_code, response.json()["agent"]["path"])


async def test_files_become_an_agent_and_its_next_version(us):
    """The same name is the next version, with the environment it had; values are never shown."""
    files = [file("CLAUDE.md", "be kind"), file("data/x.txt", "x")]
    first = await us.post("/api/agents", json={"name": "a", "files": files, "env": {"T": "s3cret"}})
    second = await us.post("/api/agents", json={"name": "a", "files": files})
    assert [1, 2] == [each.json()["agent"]["version"] for each in (first, second)]
    assert {"T": "***"} == second.json()["agent"]["env"]
    assert "s3cret" not in first.text + second.text


async def test_warnings_stand_beside_the_agent(us):
    """What a deploy has to say is in its answer, beside the agent, and only there."""
    files = [file("CLAUDE.md", "be kind"), file(".git", "gitdir: /elsewhere")]
    body = (await us.post("/api/agents", json={"name": "a", "files": files})).json()
    assert ["agent", "warnings"] == list(body)
    assert [".git"] == [warning.partition(":")[0] for warning in body["warnings"]]
    shown = (await us.get("/api/agents/a")).json()["agent"]
    assert "warnings" not in {*body["agent"], *shown}


BROKEN = '{"permissions": {"deny": ["Bash"],}}'
COMMA = ".claude/settings.json:1:34: trailing comma; the CLI would drop the whole file"


def broken(way, folder):
    """An agent whose deny rules the CLI would drop, by either way in."""
    if way == "files":
        return [file("CLAUDE.md", "be kind @../x.md"), file(".claude/settings.json", BROKEN)]
    folder = folder / "mine"
    (folder / ".claude").mkdir(parents=True)
    (folder / "CLAUDE.md").write_text("be kind @../x.md")
    (folder / ".claude" / "settings.json").write_text(BROKEN)
    return str(folder)


@pytest.mark.parametrize("way", ["path", "files"])
async def test_folder_with_errors_is_refused_and_nothing_changes(us, tmp_path, way):
    """The error names the first with its place; `force` makes warnings of all."""
    body = {"name": "helper", way: broken(way, tmp_path)}
    refused = await us.post("/api/agents", json=body)
    assert (400, True) == (refused.status_code, refused.json()["error"].startswith(COMMA))
    assert [] == (await us.get("/api/agents")).json()["agents"]
    forced = await us.post("/api/agents", json={**body, "force": True})
    assert (201, 2) == (forced.status_code, len(forced.json()["warnings"]))
    assert forced.json()["warnings"][0].startswith(COMMA)


@pytest.mark.parametrize("way", ["path", "files"])
async def test_check_deploys_nothing(us, tmp_path, way):
    """It gives each finding with its place, and what a deploy would leave out."""
    body = {"name": "helper", way: broken(way, tmp_path)}
    answer = await us.post("/api/agents/check", json=body)
    assert (200, False) == (answer.status_code, answer.json()["ok"])
    error, warning = answer.json()["findings"]
    assert ("error", ".claude/settings.json", 1, 34) == tuple(error.values())[:4]
    assert ("warning", "CLAUDE.md", 1, 9) == tuple(warning.values())[:4]
    assert [] == (await us.get("/api/agents")).json()["agents"]


async def test_strict_refuses_warnings(us):
    """In a deploy and in a check; without it they are no obstacle."""
    files = [file("CLAUDE.md", "be kind @../x.md")]
    body = {"name": "a", "files": files, "strict": True}
    assert not (await us.post("/api/agents/check", json=body)).json()["ok"]
    refused = await us.post("/api/agents", json=body)
    assert (400, "CLAUDE.md:1:9: ") == (refused.status_code, refused.json()["error"][:15])
    assert (await us.post("/api/agents/check", json={**body, "strict": False})).json()["ok"]
    assert 201 == (await us.post("/api/agents", json={**body, "strict": False})).status_code


async def test_strict_refuses_files_that_are_left_out(us):
    """They are warnings as any other, by both ways of asking."""
    files = [file("CLAUDE.md", "be kind"), file(".git", "gitdir: /elsewhere")]
    body = {"name": "a", "files": files, "strict": True}
    assert not (await us.post("/api/agents/check", json=body)).json()["ok"]
    refused = await us.post("/api/agents", json=body)
    assert (400, ".git: ") == (refused.status_code, refused.json()["error"][:6])


@pytest.mark.parametrize("more", [{"team": "x"}, {"config": {"team": "x"}}])
async def test_strict_refuses_fields_that_are_unknown(us, more):
    """A check says so too; `force` deploys all the same."""
    body = {"name": "a", "systemPrompt": "be kind", "strict": True, **more}
    checked = (await us.post("/api/agents/check", json=body)).json()
    assert (False, 1) == (checked["ok"], len(checked["findings"]))
    assert 400 == (await us.post("/api/agents", json=body)).status_code
    forced = await us.post("/api/agents", json={**body, "force": True})
    assert (201, 1) == (forced.status_code, len(forced.json()["warnings"]))


async def test_half_a_character_is_no_fault_of_the_server(us):
    """The field that has it is named."""
    body = rb'{"name": "a", "systemPrompt": "\ud800", "team": 1}'
    answer = await us.post("/api/agents", content=body)
    error = "systemPrompt: holds half of a surrogate pair, which is no text"
    assert (400, error) == (answer.status_code, answer.json()["error"])


async def test_check_of_the_longest_name(us):
    """Whatever can be deployed can be checked."""
    body = {"name": "a" * 255, "systemPrompt": "be kind"}
    assert (await us.post("/api/agents/check", json=body)).json()["ok"]


async def test_session_of_a_folder_deployed_by_force_says_so(us):
    """In its log, and in its timeline from the first event on."""
    files = [file("CLAUDE.md", "be kind"), file(".claude/settings.json", BROKEN)]
    body = {"name": "helper", "files": files, "force": True}
    (await us.post("/api/agents", json=body)).raise_for_status()
    session = await us.create()
    events = (await us.get(f"/api/sessions/{session}/events")).json()["events"]
    data = json.loads(events[0]["data"])
    assert ("created", True) == (data["action"], data["warnings"][0].startswith(COMMA))
    logs = (await us.get(f"/api/sessions/{session}/logs")).json()["logs"]
    said = [line["text"] for line in logs if line["level"] == "system"]
    assert f"deployed by force: {data['warnings'][0]}" in said


async def test_unknown_fields_are_warnings_and_typos_are_refused(us):
    """A mistyped setting must not leave a door open; what is the owner's own is kept and named."""
    body = {"name": "a", "systemPrompt": "x"}
    typo = await us.post("/api/agents", json={**body, "config": {"netwrok": "none"}})
    assert (400, 'config: unknown field "netwrok"; did you mean "network"?') == (
        typo.status_code,
        typo.json()["error"],
    )
    answer = (
        await us.post("/api/agents", json={**body, "team": "x", "config": {"team": 7}})
    ).json()
    assert {"team": 7} == answer["agent"]["config"]
    assert [
        "team: this field is unknown and has no effect",
        "config.team: this field is kept, but the server does not use it",
    ] == answer["warnings"]
    modle = await us.post("/api/sessions", json={"agent": "a", "modle": "x"})
    assert (400, 'unknown field "modle"; did you mean "model"?') == (
        modle.status_code,
        modle.json()["error"],
    )
    session = (await us.post("/api/sessions", json={"agent": "a", "colour": 1})).json()
    assert ["colour: this field is unknown and has no effect"] == session["warnings"]


async def test_agents_are_listed_and_shown(us):
    """The list is by name; one is shown as in the list."""
    for name in ("b", "a"):
        await us.deploy(name)
    listed = (await us.get("/api/agents")).json()["agents"]
    assert ["a", "b"] == [agent["name"] for agent in listed]
    assert {"agent": listed[0]} == (await us.get("/api/agents/a")).json()


async def test_deleted_agent_is_not_found(us, agent):
    """Deleting is done once; a second time there is nothing to delete."""
    gone = await us.delete("/api/agents/helper")
    assert (200, {"ok": True}) == (gone.status_code, gone.json())
    for response in (await us.get("/api/agents/helper"), await us.delete("/api/agents/helper")):
        assert (404, {"error": 'There is no agent "helper"', "statusCode": 404}) == (
            response.status_code,
            response.json(),
        )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name: this field is required"),
        ({"name": "a b", "systemPrompt": "x"}, "name: "),
        ({"name": "a"}, "Give exactly one of path, files and systemPrompt"),
        ({"name": "a", "systemPrompt": "x", "path": "/"}, "Give exactly one of"),
        ({"name": "a", "path": "/not/there"}, 'path: there is no folder "/not/there"'),
        ({"name": "a", "path": "/usr"}, "path: CLAUDE.md is missing"),
        ({"name": "a", "files": [file("x", "")]}, "files: CLAUDE.md is missing"),
        ({"name": "a", "files": [{"path": "x", "content": "%"}]}, 'the content of "x" is not'),
        ({"name": "a", "files": [file("CLAUDE.md", ""), file("../x", "")]}, "does not stay"),
        ({"name": "a", "systemPrompt": "x", "config": {"preWarmCount": -1}}, "config.preWarm"),
    ],
)
async def test_what_is_no_agent_is_refused(us, body, words):
    """Each refusal is a 400 that names the field."""
    response = await us.post("/api/agents", json=body)
    assert (400, 400) == (response.status_code, response.json()["statusCode"])
    assert words in response.json()["error"]
    assert [] == (await us.get("/api/agents")).json()["agents"]


async def test_agents_of_another_tenant_are_not_there(daemon, agent):
    """Not shown, not listed, not deleted, and their names are free."""
    them = daemon.them
    assert [] == (await them.get("/api/agents")).json()["agents"]
    for method in ("GET", "DELETE"):
        response = await them.request(method, "/api/agents/helper")
        assert 404 == response.status_code
    assert 1 == (await them.deploy())["version"]
    assert agent == (await daemon.us.get("/api/agents/helper")).json()["agent"]
