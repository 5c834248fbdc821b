"""One sandbox from its first file to its last process, with a bridge that the test speaks for."""

from collections import Counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.errors import BadRequest, EngineFailed, Unavailable
from ash.protocol import Open
from ash.sandbox.sandbox import EARLY_LINES, PoolKey, Sandbox, SandboxDependencies, SandboxSpec
from ash.workspaces.workspaces import Workspaces
from tests.support.pool import NETWORK, SMALL
from tests.support.sandbox import RUNTIME

START_TIMEOUT, SCRIPT_TIMEOUT = 60.0, 300.0
PLAIN = Open(session_id="", model="m", permission_mode="default")


class Bench:
    """Runs sandboxes as the pool does."""

    def __init__(self, data_dir, source, maker, nursery):
        self.data_dir = data_dir
        self.source = source
        self.maker = maker
        self.counts = Counter()
        self.workspaces = Workspaces(data_dir)
        self._nursery = nursery

    def sandbox(self, *, restore=False, **env):
        spec = SandboxSpec(
            restore=restore,
            key=PoolKey("default", "agent", 1),
            source=self.source,
            env=env,
            limits=SMALL,
            network=NETWORK,
        )
        dependencies = SandboxDependencies(
            RUNTIME, self.workspaces, START_TIMEOUT, SCRIPT_TIMEOUT, self.maker.open
        )
        return Sandbox("the-id", spec, dependencies, self.counts)

    def start(self, sandbox=None, settings=PLAIN):
        sandbox = sandbox or self.sandbox()
        self._nursery.start_soon(self._run, sandbox, settings)
        return sandbox

    async def booted(self, sandbox=None, settings=PLAIN):
        sandbox = self.start(sandbox, settings)
        await sandbox.ready.wait()
        assert sandbox.failure is None
        return sandbox

    async def refuse(self):
        return False

    async def _run(self, sandbox, settings):
        await sandbox.run(settings)
        sandbox.forget()

    def script(self, name, code=0, out="", err="", *, late=False):
        """The agent has it, and that is what comes of it."""
        (self.source / name).touch()
        self.maker.results[f"bash {name}"] = (code, out, err, late)


@pytest.fixture
def bench(tmp_path, maker, nursery, inline_threads):
    source = tmp_path / "agent"
    source.mkdir()
    (source / "CLAUDE.md").write_text("be kind")
    return Bench(tmp_path / "data", source, maker, nursery)


class Log:
    def __init__(self):
        self.lines = []

    async def sink(self, lines):
        self.lines += lines

    @property
    def texts(self):
        return [text for _, text in self.lines]


async def log_of(sandbox):
    log = Log()
    await sandbox.attach(log.sink)
    return log


async def test_box_boots_the_engine_with_the_agent_s_files(bench):
    """The workspace is a copy of the agent, and the engine is opened under the sandbox's id."""
    sandbox = await bench.booted(bench.sandbox(COLOUR="blue"))
    made = bench.maker.last
    assert "be kind" == (made.paths.workspace / "CLAUDE.md").read_text()
    assert ("the-id", "m", "default") == (
        made.opened[0].session_id,
        made.opened[0].model,
        made.opened[0].permission_mode,
    )
    assert ({"COLOUR": "blue", "ASH_AGENT": "agent"}, SMALL) == (made.env, made.limits)
    assert ("warm", True) == (sandbox.state, sandbox.alive)


async def test_log_tells_the_share_of_each_step(bench, autojump_clock):
    """What a boot took is in the log: bridge, scripts and engine, in their order."""
    bench.script("install.sh")
    log = await log_of(await bench.booted())
    assert "started: bridge 0.000 s, install.sh 0.000 s, engine 0.000 s" == log.texts[-1]


async def test_scripts_run_before_the_engine(bench):
    """`install.sh` runs first, then `startup.sh`; what they print is logged by its stream."""
    bench.maker.hold()
    bench.script("startup.sh", out="up")
    bench.script("install.sh", out="one\ntwo", err="careful")
    sandbox = bench.start()
    await wait_all_tasks_blocked()
    assert ["bash install.sh", "bash startup.sh"] == bench.maker.last.shell_commands
    assert [
        ("system", "install.sh runs, for 300 s at most"),
        ("stdout", "one"),
        ("stdout", "two"),
        ("stderr", "careful"),
        ("system", "startup.sh runs, for 300 s at most"),
        ("stdout", "up"),
    ] == (await log_of(sandbox)).lines


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"code": 3, "out": "1\n2\n3\n4", "err": "5\n6"}, "install.sh failed (3): 2; 3; 4; 5; 6"),
        ({"code": 124, "late": True}, "install.sh took too long: it printed nothing"),
    ],
)
async def test_failing_script_fails_the_boot(bench, result, text):
    """Its last lines are in the error, and the engine is not started."""
    bench.script("install.sh", **result)
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert (EngineFailed, text) == (type(sandbox.failure), sandbox.failure.text)
    assert [] == bench.maker.last.opened


async def test_engine_that_refuses_fails_the_boot(bench):
    """The error is in the bridge's words."""
    bench.maker.refusal = "The CLI is missing"
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert "The CLI is missing" == sandbox.failure.text


async def test_failed_boot_is_known_before_its_remains_are_gone(bench):
    """While the sandbox is still being cleared away it already is nothing to claim."""
    bench.maker.refusal = "The CLI is missing"
    sandbox = bench.start()
    while sandbox.failure is None:
        assert not sandbox.gone.is_set()
        await trio.lowlevel.checkpoint()
    assert not bench.maker.last.ended.is_set()


async def test_engine_that_does_not_start_in_time_fails_the_boot(bench, autojump_clock):
    """A boot is bounded."""
    bench.maker.hold()
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert START_TIMEOUT == trio.current_time()
    assert "The engine did not start within 60 seconds" == sandbox.failure.text


async def test_bridge_that_never_answers_fails_the_boot(bench, autojump_clock):
    """The time begins with the bridge's own start."""
    bench.maker.silent = True
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert (START_TIMEOUT, False) == (trio.current_time(), sandbox.alive)


async def test_scripts_have_time_of_their_own(bench, autojump_clock):
    """What a script may take is added to what the boot may."""
    bench.script("install.sh")
    bench.maker.hold()
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert START_TIMEOUT + SCRIPT_TIMEOUT == trio.current_time()


async def test_bridge_that_dies_while_booting_tells_how(bench):
    """The error says how the process ended."""
    bench.maker.hold()
    sandbox = bench.start()
    await wait_all_tasks_blocked()
    bench.maker.last.die()
    await sandbox.ready.wait()
    assert "The agent's process ended (signal 9)" == sandbox.failure.text


async def test_agent_that_can_not_be_copied_fails_the_boot(bench):
    """What is wrong with the agent's folder is said in its own words."""
    (bench.source / "out").symlink_to("/etc")
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert (BadRequest, 'The link "out" leads out of the folder') == (
        type(sandbox.failure),
        sandbox.failure.text.partition(":")[0],
    )
    assert [] == bench.maker.made


async def test_unexpected_error_costs_that_box(bench):
    """It is the failure of this sandbox, and its text is for nobody but the daemon's log."""
    bench.maker.error = OSError("fork: /secret/path")
    sandbox = bench.start()
    await sandbox.ready.wait()
    assert (EngineFailed, "The sandbox broke") == (type(sandbox.failure), sandbox.failure.text)


async def test_binding_what_it_was_booted_with_asks_nothing(bench):
    """A session with the agent's own settings finds its engine as it is."""
    sandbox = await bench.booted()
    await sandbox.bind(PLAIN)
    assert 1 == len(bench.maker.last.opened)


async def test_binding_other_settings_opens_the_engine_anew(bench):
    """All that the session asks for reaches the engine, under the id that it has already."""
    sandbox = await bench.booted()
    asked = Open(
        session_id="",
        model="other",
        system_prompt="be brief",
        mcp_servers={"s": {"command": "x"}},
        permission_mode="bypassPermissions",
        allowed_tools=["Bash"],
        extra_env={"TOKEN": "t"},
    )
    await sandbox.bind(asked)
    await sandbox.bind(asked)
    _, late = bench.maker.last.opened
    late.id = ""
    asked.session_id = "the-id"
    assert asked == late


async def test_session_s_env_has_no_say_over_the_bridge(bench):
    """The bridge's own variables and the model's key are not handed in."""
    sandbox = await bench.booted()
    given = {"ASH_ENGINE": "x", "ANTHROPIC_API_KEY": "k", "A": "b"}
    await sandbox.bind(Open(session_id="", extra_env=given))
    assert {"A": "b"} == bench.maker.last.opened[-1].extra_env


async def test_proxy_uses_the_session_s_key_from_its_binding_on(bench):
    """A warm sandbox has the daemon's credentials; the key of its session replaces them."""
    sandbox = await bench.booted()
    egress = bench.maker.last.egress
    assert RUNTIME.upstream.headers == egress.headers
    await sandbox.bind(Open(session_id="", extra_env={"ANTHROPIC_API_KEY": "its own"}))
    assert ["its own"] == [value.decode() for _, value in egress.headers]


async def test_variables_in_urls_of_mcp_servers_open_their_hosts(bench):
    """With the environment that the engine gets: the agent's, then the session's."""
    servers = '{"mcpServers": {"a": {"url": "https://${A}/"}, "b": {"url": "https://${B}/"}}}'
    (bench.source / ".mcp.json").write_text(f"\ufeff{servers}")
    sandbox = await bench.booted(bench.sandbox(A="a.org"))
    egress = bench.maker.last.egress
    assert ["a.org"] == [entry.host for entry in egress.policy.entries]
    own = {"own": {"url": "https://${B:-c.org}/"}}
    await sandbox.bind(Open(session_id="", extra_env={"B": "b.org"}, mcp_servers=own))
    assert ["a.org", "b.org", "b.org"] == [entry.host for entry in egress.policy.entries]


async def test_mcp_server_whose_host_is_not_known_is_named_in_the_log(bench):
    """Its host stays closed, and the session's log says why."""
    sandbox = await bench.booted()
    log = await log_of(sandbox)
    await sandbox.bind(Open(session_id="", mcp_servers={"crm": {"url": "https://${CRM}/"}}))
    said = 'The MCP server "crm" can\'t be reached: its url needs CRM, not set here'
    assert ("system", said) == log.lines[-1]


async def test_faults_that_an_agent_was_deployed_with_are_in_the_log(bench):
    """A folder with errors was deployed by force; one that only has warnings was not."""
    (bench.source / ".mcp.json").write_text("{]")
    sandbox = await bench.booted()
    [fault] = sandbox.faults
    assert fault.startswith(".mcp.json:1:2: ")
    assert ("system", f"deployed by force: {fault}") == (await log_of(sandbox)).lines[0]


async def test_folder_that_only_has_warnings_has_no_faults(bench):
    """Nobody had to force its deploy."""
    (bench.source / "CLAUDE.md").write_text("@missing.md")
    assert [] == (await bench.booted()).faults


async def test_binding_is_refused_in_the_engine_s_words(bench):
    """What the engine says to the session's settings is the error."""
    sandbox = await bench.booted()
    bench.maker.refusal = "No such model"
    with pytest.raises(EngineFailed, match="No such model"):
        await sandbox.bind(Open(session_id="", model="?"))


async def test_binding_an_engine_that_does_not_answer_is_refused(bench, autojump_clock):
    """Nobody waits for ever for an agent that has stopped its own bridge."""
    sandbox = await bench.booted()
    bench.maker.hold()
    with pytest.raises(EngineFailed, match=f"did not start within {START_TIMEOUT:g} seconds"):
        await sandbox.bind(Open(session_id="", model="other"))
    bench.maker.let_go()


async def test_binding_a_box_that_is_gone_is_refused(bench):
    """A sandbox that was closed is unavailable; one that broke says why."""
    sandbox = await bench.booted()
    sandbox.close()
    await sandbox.gone.wait()
    with pytest.raises(Unavailable, match="was closed"):
        await sandbox.bind(PLAIN)
    sandbox.fail(EngineFailed("it burnt down"))
    with pytest.raises(EngineFailed, match="it burnt down"):
        await sandbox.bind(PLAIN)


async def test_install_that_did_not_end_well_is_due_again(bench):
    """A session that failed to begin, or was cut off in it, does not go on half installed."""
    bench.script("install.sh", code=1)
    sandbox = bench.sandbox()
    sandbox.claimed = True
    bench.start(sandbox)
    await sandbox.gone.wait()
    assert "install.sh failed" in sandbox.failure.text
    bench.script("install.sh")
    for expected in (["bash install.sh"], []):
        again = bench.sandbox(restore=True)
        again.claimed = True
        await bench.booted(again)
        assert ("local", expected) == (again.source, bench.maker.last.shell_commands)
        again.close()
        await again.gone.wait()


async def test_early_lines_are_the_first_of_the_session_s_log(bench):
    """What was printed before there was a session comes before what is printed after."""
    sandbox = await bench.booted()
    await sandbox.log([("stdout", "early")])
    log = await log_of(sandbox)
    await sandbox.log([("stderr", "late")])
    assert [("stdout", "early"), ("stderr", "late")] == log.lines[-2:]


async def test_early_lines_are_bounded(bench):
    """A sandbox that prints and prints, and is never claimed, costs no more than this."""
    sandbox = await bench.booted()
    await sandbox.log([("stdout", str(number)) for number in range(EARLY_LINES + 10)])
    log = await log_of(sandbox)
    assert (EARLY_LINES, "10") == (len(log.texts), log.texts[0])


async def test_box_lives_on_when_its_log_fails(bench):
    """Early lines, its own and those of its programs: what can't be stored ends nothing."""

    async def full(lines):
        raise Unavailable("The disk is full")

    sandbox = bench.sandbox()
    await sandbox.log([("stdout", "early")])
    await sandbox.attach(full)
    await bench.booted(sandbox)
    await sandbox.log([("stdout", "late")])
    assert ("warm", True, None) == (sandbox.state, sandbox.alive, sandbox.failure)


async def test_unclaimed_box_leaves_nothing(bench):
    """What nobody has claimed is not kept."""
    sandbox = await bench.booted()
    sandbox.close()
    await sandbox.gone.wait()
    assert [] == list(bench.data_dir.rglob("CLAUDE.md"))
    assert (None, False) == (sandbox.failure, sandbox.kept)


async def test_claimed_box_leaves_its_files(bench):
    """What a session had in its sandbox is kept when that goes."""
    sandbox = await bench.booted()
    sandbox.claimed = True
    (bench.maker.last.paths.workspace / "work").touch()
    sandbox.close()
    await sandbox.gone.wait()
    assert bench.maker.last.ended.is_set()
    assert ["work"] == [path.name for path in bench.data_dir.glob("sessions/the-id/*/work")]
    assert sandbox.kept


async def test_files_that_can_not_be_put_away_cost_nobody_else(bench, monkeypatch):
    """The sandbox is gone all the same; the next start finds its files."""
    monkeypatch.setattr(bench.workspaces, "keep", raising_os_error)
    sandbox = await bench.booted()
    sandbox.claimed = True
    sandbox.close()
    await sandbox.gone.wait()
    assert not sandbox.kept


def raising_os_error(_):
    raise OSError("disk")


async def test_closing_a_box_that_boots_ends_it(bench, autojump_clock):
    """A boot is given up at once, and that is no failure of the sandbox."""
    bench.maker.hold()
    sandbox = bench.start()
    await wait_all_tasks_blocked()
    sandbox.close()
    await sandbox.gone.wait()
    assert (0, None) == (trio.current_time(), sandbox.failure)


async def test_sandbox_waits_for_the_end_of_its_turn(bench):
    """What is closed in mid-turn goes when the turn has stored its end."""
    sandbox = await bench.booted()
    turn = trio.Event()
    sandbox.start(turn.wait, is_turn=True)
    sandbox.close()
    await wait_all_tasks_blocked()
    assert not bench.maker.last.ended.is_set()
    turn.set()
    await sandbox.gone.wait()


async def test_box_that_dies_tells_how(bench):
    """The failure is how its process ended."""
    sandbox = await bench.booted()
    bench.maker.last.die()
    await sandbox.gone.wait()
    assert ("The agent's process ended (signal 9)", False) == (sandbox.failure.text, sandbox.alive)


async def test_unclaimed_box_closes_when_its_engine_dies(bench):
    """Without its engine a warm sandbox is worth nothing, and nobody shall see it."""
    sandbox = await bench.booted()
    await bench.maker.last.lose_engine()
    await sandbox.gone.wait()
    assert "The engine died (SIGKILL)" == sandbox.failure.text


async def test_claimed_box_goes_on_when_its_engine_dies(bench):
    """Its next turn starts the engine again; until then the log says so, each time."""
    sandbox = await bench.booted()
    sandbox.claimed = True
    log = await log_of(sandbox)
    await bench.maker.last.lose_engine("first")
    await wait_all_tasks_blocked()
    await bench.maker.last.lose_engine("second")
    await wait_all_tasks_blocked()
    assert [("system", "first"), ("system", "second")] == log.lines[-2:]
    assert sandbox.alive


async def test_tally_counts_a_box_from_its_making_to_its_end(bench):
    """Each state is counted once, and what is gone counts nowhere, whatever is said of it."""
    sandbox = bench.sandbox()
    seen = [+bench.counts]
    await bench.booted(sandbox)
    seen.append(+bench.counts)
    work = trio.Event()
    sandbox.start(work.wait)
    seen.append(+bench.counts)
    work.set()
    await wait_all_tasks_blocked()
    seen.append(+bench.counts)
    sandbox.close()
    await sandbox.gone.wait()
    sandbox.activate(bench.refuse)
    seen.append(+bench.counts)
    assert [{"warming": 1}, {"warm": 1}, {"running": 1}, {"waiting": 1}, {}] == seen


@pytest.mark.parametrize("claimed", [True, False])
async def test_files_are_put_away_when_the_pool_is_cut_down(bench, nursery, claimed):
    """A daemon that is cancelled keeps a session's files, and leaves none of a spare sandbox."""
    async with trio.open_nursery() as bench._nursery:
        sandbox = await bench.booted()
        sandbox.claimed = claimed
        bench._nursery.cancel_scope.cancel()
    assert claimed == sandbox.kept
    assert [] == bench.workspaces.live_ids()
    assert ["the-id"] * claimed == bench.workspaces.kept_ids()
