"""The class of disk accounting: what takes disk faster, or elsewhere, than it is measured.

A whole daemon runs sessions with a limit of 20 MB. What was over is what the disk itself says.
"""

import base64

import pytest
import trio

from ash.limits.amounts import MB
from tests.support.daemon import running, settings

LIMIT = 20
# It is over by 50 MB on a machine that is not busy. One that is wakes the alarm's thread later. The
# sweep alone lets each of them take 200 to 600 MB.
OVER = 150 * MB

# Each takes 600 MB of a limit of 20 MB, if nothing holds it. The kernel refuses the first two.
REFUSED = {"fallocate", "ioctl"}
FILLERS = {
    "fallocate": """
import ctypes
libc = ctypes.CDLL(None)
for number in range(60):
    libc.fallocate(os.open(f"f{number}", os.O_RDWR | os.O_CREAT), 0, 0, 10 << 20)
""",
    "ioctl": """
import fcntl, struct
for number in range(60):
    file = os.open(f"f{number}", os.O_RDWR | os.O_CREAT)
    fcntl.ioctl(file, 0x4030_5828, struct.pack("=hhqqiI16x", 0, 0, 0, 10 << 20, 0, 0))
""",
    "posix_fallocate": """
for number in range(60):
    os.posix_fallocate(os.open(f"f{number}", os.O_RDWR | os.O_CREAT), 0, 10 << 20)
""",
    "writes": """
for number in range(60):
    os.write(os.open(f"f{number}", os.O_WRONLY | os.O_CREAT), bytes(10 << 20))
""",
    "long_calls_of_many_processes": """
import mmap
zeros = mmap.mmap(-1, 19 << 20, flags=mmap.MAP_PRIVATE)
for process in range(32):
    if os.fork() == 0:
        os.write(os.open(f"f{process}", os.O_WRONLY | os.O_CREAT), zeros)
        os._exit(0)
for process in range(32):
    os.wait()
""",
    "mapped_holes": """
import mmap
for number in range(60):
    file = os.open(f"f{number}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 10 << 20)
    memory = mmap.mmap(file, 10 << 20)
    for page in range(0, 10 << 20, 4096):
        memory[page] = 1
""",
    "direct_writes": """
import mmap
zeros = mmap.mmap(-1, 10 << 20)
for number in range(60):
    os.write(os.open(f"f{number}", os.O_WRONLY | os.O_CREAT | os.O_DIRECT), zeros)
""",
    "copies_in_the_kernel": """
os.write(os.open("f", os.O_WRONLY | os.O_CREAT), bytes(10 << 20))
for number in range(60):
    out = os.open(f"f{number}", os.O_WRONLY | os.O_CREAT)
    os.sendfile(out, os.open("f", os.O_RDONLY), 0, 10 << 20)
""",
    "folders": """
for number in range(150_000):
    os.mkdir(f"f{number}")
""",
    "home": """
for number in range(60):
    file = os.open(os.path.expanduser(f"~/f{number}"), os.O_WRONLY | os.O_CREAT)
    os.write(file, bytes(10 << 20))
""",
    "unlinked": """
files = []
for number in range(60):
    files.append(os.open("f", os.O_WRONLY | os.O_CREAT))
    os.unlink("f")
    os.write(files[-1], bytes(10 << 20))
""",
}


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def us(data_dir):
    """A client of a daemon with an agent."""
    async with running(settings(data_dir), other_tenant=False) as daemon:
        await daemon.us.deploy()
        yield daemon.us


async def limited(us):
    return await us.create(limits={"diskMb": LIMIT})


async def fill(us, session, code):
    """Runs Python in the sandbox."""
    command = f"python3 - <<'END'\nimport os\n{code}\nEND"
    return await us.post(f"/api/sessions/{session}/exec", json={"command": command})


def taken_below(folder):
    """What the files of sessions take, wherever they are."""
    return sum(
        path.lstat().st_blocks * 512
        for place in ("sandboxes", "sessions", "transfers")
        for path in (folder / place).rglob("*")
    )


async def upload(us, session, megabytes, path="file"):
    content = base64.b64encode(bytes(int(megabytes * MB))).decode()
    return await us.post(
        f"/api/sessions/{session}/files", json={"files": [{"path": path, "content": content}]}
    )


async def crowded(us, data_dir):
    """A stopped session with 19 of 20 MB."""
    session = await limited(us)
    (await us.post(f"/api/sessions/{session}/stop")).raise_for_status()
    (data_dir / "sessions" / session / "workspace" / "file").write_bytes(bytes(19 * MB))
    return session


def refused(answer, status, words):
    assert (status, True) == (answer.status_code, words in answer.json()["error"]), answer.text


def overfill(data_dir, session):
    """As an agent that was faster than everybody who looks."""
    (data_dir / "sessions" / session / "workspace" / "large").write_bytes(bytes(2 * MB))


async def test_nothing_outruns_the_limit(us, data_dir):
    """However the disk is filled, the session ends, and little more than its limit was taken."""
    over, status = {}, {}
    for name, code in FILLERS.items():
        session = await limited(us)
        await fill(us, session, code)
        if name not in REFUSED:
            await us.becomes(session, "error")
        over[name] = max(0, taken_below(data_dir) - LIMIT * MB)
        status[name] = await us.status(session)
        await us.delete(f"/api/sessions/{session}")
    assert {name: "active" if name in REFUSED else "error" for name in FILLERS} == status
    assert {} == {name: size for name, size in over.items() if size > OVER}
    assert taken_below(data_dir) < MB


async def test_only_the_session_that_fills_the_disk_ends(us):
    """Its error names the limit; a session beside it goes on."""
    victim, session = await limited(us), await limited(us)
    await fill(us, session, FILLERS["writes"])
    await us.becomes(session, "error")
    events = await us.history(session, "events")
    assert "The agent went over its disk limit of 20 MB" in str(events)
    frames = await us.say(victim, "hello")
    assert "completed" == frames[-1].value["reason"]


async def test_session_over_its_limit_is_not_resumed(us, data_dir):
    """It is told what to do instead of being ended again; with less it goes on."""
    session = await crowded(us, data_dir)
    overfill(data_dir, session)
    refused(
        await us.post(f"/api/sessions/{session}/resume"), 507, "disk limit of 20 MB: delete some"
    )
    answer = await us.post(
        f"/api/sessions/{session}/messages?resume=auto", json={"content": "hello"}
    )
    refused(answer, 507, "disk limit of 20 MB")
    assert "stopped" == await us.status(session)
    (await us.delete(f"/api/sessions/{session}/files/large")).raise_for_status()
    (await us.post(f"/api/sessions/{session}/resume")).raise_for_status()


async def test_session_over_its_limit_is_not_forked(us, data_dir):
    """A fork would be another copy of it, and nothing is left of the try."""
    session = await crowded(us, data_dir)
    overfill(data_dir, session)
    refused(await us.post(f"/api/sessions/{session}/fork"), 507, "disk limit of 20 MB")
    assert [session] == [path.name for path in (data_dir / "sessions").iterdir()]


async def test_fork_has_its_parents_limit(us, data_dir):
    """What is written to a fork counts with what it took over."""
    session = await crowded(us, data_dir)
    fork = (await us.post(f"/api/sessions/{session}/fork")).json()["session"]["id"]
    refused(await upload(us, fork, 2, "more"), 413, "disk limit is 20 MB")
    (await upload(us, fork, 0.5, "little")).raise_for_status()


async def test_upload_over_the_limit_is_refused(us, data_dir):
    """Whether the session is active or stopped; nothing of it is written."""
    session = await us.create(limits={"diskMb": 3})
    (await upload(us, session, 2)).raise_for_status()
    for action in (None, "stop"):
        if action is not None:
            (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()
        before = await us.get(f"/api/sessions/{session}/files")
        refused(await upload(us, session, 1.1, "new/more"), 413, "disk limit is 3 MB")
        assert (
            before.json()["files"]
            == (await us.get(f"/api/sessions/{session}/files")).json()["files"]
        )
        (await upload(us, session, 2.1)).raise_for_status()


async def test_uploads_at_once_count_together(us, data_dir):
    """Each finds what those before it have written."""
    session = await crowded(us, data_dir)
    statuses = []

    async def one(number):
        statuses.append((await upload(us, session, 0.6, f"file-{number}")).status_code)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(one, number)
    assert [200, 413, 413, 413] == sorted(statuses)


async def test_session_that_ends_over_its_limit_leaves_nothing(us, data_dir):
    """Its files are not kept to be read."""
    session = await crowded(us, data_dir)
    overfill(data_dir, session)
    (await us.delete(f"/api/sessions/{session}")).raise_for_status()
    assert (0, "ended") == (taken_below(data_dir), await us.status(session))
    refused(await us.get(f"/api/sessions/{session}/files"), 404, "no files any more")


async def test_session_that_ends_gives_everything_back_if_asked_to(us, data_dir):
    """Else its files can be read on; asking for it once more is enough."""
    session = await crowded(us, data_dir)
    (await us.delete(f"/api/sessions/{session}")).raise_for_status()
    assert 200 == (await us.get(f"/api/sessions/{session}/files/file")).status_code
    (await us.delete(f"/api/sessions/{session}?keepFiles=false")).raise_for_status()
    assert 0 == taken_below(data_dir)


async def test_agent_that_is_larger_than_a_sandbox_is_not_deployed(data_dir, tmp_path):
    """Its holes count, as they may be filled in the copy; nothing is left of the try."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "CLAUDE.md").touch()
    with (folder / "holes").open("wb") as file:
        file.truncate(1 << 40)
    async with running(settings(data_dir, sandbox_disk_mb=LIMIT), other_tenant=False) as daemon:
        us = daemon.us
        answer = await us.post("/api/agents", json={"name": "large", "path": str(folder)})
        refused(answer, 413, "more than 20 MB")
        assert [] == [path for path in (data_dir / "agents").rglob("*") if path.is_file()]


async def test_session_with_less_room_than_its_agent_is_not_made(us):
    """The error says which limit is too low."""
    content = base64.b64encode(bytes(2 * MB)).decode()
    files = [
        {"path": "CLAUDE.md", "content": ""},
        {"path": "large", "content": content},
    ]
    (await us.post("/api/agents", json={"name": "large", "files": files})).raise_for_status()
    answer = await us.post("/api/sessions", json={"agent": "large", "limits": {"diskMb": 1}})
    refused(answer, 507, "more than the disk limit of 1 MB")


async def test_nothing_begins_below_the_floor(us, data_dir, monkeypatch):
    """Creates, resumes, forks, uploads and deploys are told when there is too little room."""
    session, agent = await crowded(us, data_dir), "helper"
    monkeypatch.setattr("ash.limits.free_space.FreeSpace.is_low", lambda _: True)
    files = [{"path": "CLAUDE.md", "content": ""}]
    answers = [
        await us.post("/api/sessions", json={"agent": agent}),
        await us.post(f"/api/sessions/{session}/resume"),
        await us.post(f"/api/sessions/{session}/fork"),
        await us.post("/api/agents", json={"name": "more", "files": files}),
        await upload(us, session, 0.1, "little"),
    ]
    for answer in answers:
        refused(answer, 503, "MB free: try again when there is room")
        assert "30" == answer.headers["retry-after"]
    (await us.delete(f"/api/sessions/{session}/files/file")).raise_for_status()
