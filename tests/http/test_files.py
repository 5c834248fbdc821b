"""The routes to a session's files, on live and on kept workspaces, through the real app."""

import base64
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import h11
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.authentication import ApiKeys
from ash.clock import SystemClock
from ash.http import uploads
from ash.http.app import Services, make_app
from ash.limits import FreeSpace, Limits
from ash.model import Session, SessionSettings, StoredSession
from ash.sessions import files
from ash.sessions.files import SessionFiles
from ash.store import open_store
from ash.workspaces import listing
from ash.workspaces.workspaces import Workspaces

NOW = "2026-01-02T03:04:05.678Z"
KEYS = {"default": "key-of-default", "other": "key-of-other"}


class Api:
    """Speaks to the app as a tenant. Answers are their status and their JSON."""

    def __init__(self, data, store, service, server):
        self.data, self.store, self.service, self.server = data, store, service, server
        self.client = self.session = None

    async def connect(self):
        self.client = await self.server.connect()
        return self

    async def create(self, status="active", place="sandboxes", tenant="default"):
        """Stores a session that has these files; they are below `workspace`."""
        self.session = str(uuid4())
        session = Session(
            id=self.session,
            tenant_id=tenant,
            agent_name="a",
            sandbox_id=self.session,
            status=status,
            created_at=NOW,
            last_active_at=NOW,
        )
        stored = StoredSession(
            session=session, settings=SessionSettings(), agent_version=1, owner="me"
        )
        await self.store.create_session(stored)
        if place is not None:
            workspace = self.data / place / self.session / "workspace"
            (workspace / "src").mkdir(parents=True)
            (workspace / "src" / "main.py").write_text("print('ü')\n")
            (workspace / ".env").write_text("A=1")
            return workspace
        return None

    async def raw(self, path="", method="GET", body=b"", tenant="default", session=None):
        headers = f"Authorization: Bearer {KEYS[tenant]}\r\n"
        target = f"/api/sessions/{session or self.session}/files{path}"
        return await self.client.ask(target, method, headers, body)

    async def ask(self, *args, **options):
        answer = await self.raw(*args, **options)
        return answer.status, json.loads(answer.body)

    async def upload(self, *wanted, **more):
        """Each wanted is (path, content) with the content in bytes, or in base64 as text."""
        body = {"files": [{"path": path, "content": encoded(content)} for path, content in wanted]}
        return await self.ask(method="POST", body=json.dumps(body | more).encode())


def encoded(content):
    return base64.b64encode(content).decode() if isinstance(content, bytes) else content


def refused(answer, status, words):
    """Whether it is an error of that status that says these words."""
    return (status, status) == (answer[0], answer[1].get("statusCode")) and words in answer[1][
        "error"
    ]


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def limits_of(stored):
    return Limits(disk_mb=1024)


async def left_open():
    """What of the workspaces is open when all has come to rest."""
    await wait_all_tasks_blocked()
    return open_files()


def open_files():
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return [link for link in links if "/workspace" in link]


@pytest.fixture
async def api(tmp_path, serving):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret").write_text("secret")
    async with open_store(data / "ash.db") as store:
        keys = ApiKeys(store, b"secret", SystemClock())
        await keys.load(data, KEYS["default"])
        keys._tenants[keys._digest(KEYS["other"])] = "other"
        changed = []
        service = SessionFiles(store, Workspaces(data), changed.append, limits_of, FreeSpace(data))
        server = await serving(make_app(Services(None, None, service, keys, None, dict, None)))
        api = Api(data, store, service, server)
        api.changed = changed
        yield await api.connect()


PLACES = [
    ("active", "sandboxes", "sandbox"),
    ("starting", "sandboxes", "sandbox"),
    ("paused", "sessions", "snapshot"),
    ("stopped", "sessions", "snapshot"),
    ("ended", "sessions", "snapshot"),
    ("error", "sessions", "snapshot"),
]


@pytest.mark.parametrize(("status", "place", "source"), PLACES)
async def test_files_are_there_in_every_state(api, status, place, source):
    """Files are listed, read, written and deleted, live or kept; the answer says which."""
    workspace = await api.create(status, place)

    found = await api.ask()
    raw = await api.raw("/src/main.py")
    text = await api.ask("/src/main.py?format=json")
    written = await api.upload(("new/file", b"hello"))
    deleted = await api.ask("/src/main.py", "DELETE")

    [entry] = found[1]["files"]
    assert (200, source) == (found[0], found[1]["source"])
    assert ("src/main.py", 12) == (entry["path"], entry["size"])
    assert {"path", "size", "modifiedAt"} == set(entry)
    assert (200, "print('ü')\n".encode()) == (raw.status, raw.body)
    assert source.encode() == raw.headers[b"x-ash-source"]
    shown = {"path": "src/main.py", "content": "print('ü')\n", "size": 12, "source": source}
    assert (200, shown) == text
    answer = {"files": [{"path": "new/file", "written": True, "size": 5}]}
    assert (200, answer) == written
    assert (200, {"path": "src/main.py", "deleted": True}) == deleted
    assert [".env", "new/file"] == tree(workspace)


async def test_hidden_files_are_listed_if_asked_for(api):
    """`includeHidden=true` lists what begins with a dot; another word is refused."""
    await api.create()
    _, shown = await api.ask("?includeHidden=true")
    assert [".env", "src/main.py"] == [file["path"] for file in shown["files"]]
    assert refused(await api.ask("?includeHidden=maybe"), 400, "includeHidden")


async def test_long_list_is_cut_and_says_so(api, monkeypatch):
    """A list that is not complete has `truncated: true`; one that is has no such field."""
    workspace = await api.create()
    _, complete = await api.ask()
    (workspace / "more").touch()
    monkeypatch.setattr(listing, "MAX_LISTED", 1)
    _, cut = await api.ask()
    assert {"files", "source"} == set(complete)
    assert (1, True) == (len(cut["files"]), cut["truncated"])


async def test_walk_through_a_huge_tree_ends_with_its_request(api):
    """A list that nobody waits for any more is given up, and its thread is free again."""
    workspace = await api.create()
    for number in range(50):
        (workspace / str(number)).touch()
    with trio.move_on_after(0) as scope:
        await api.service.find("default", api.session, hidden=False)
    assert scope.cancelled_caught
    assert 0 == api.service._threads.borrowed_tokens


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", b"text/plain"),
        ("a.html", b"text/html"),
        ("a.ts", b"text/typescript"),
        ("a.md", b"text/markdown"),
        ("a.PNG", b"image/png"),
        ("a.tar.gz", b"application/gzip"),
        ("a.txt.br", b"application/octet-stream"),
        ("Makefile", b"application/octet-stream"),
    ],
)
async def test_file_has_a_type_by_its_name(api, name, kind):
    """The type is told from the name, and browsers are told not to guess another."""
    workspace = await api.create()
    (workspace / name).write_bytes(b"<script>")
    answer = await api.raw(f"/{name}")
    assert kind == answer.headers[b"content-type"]
    assert b"nosniff" == answer.headers[b"x-content-type-options"]
    assert b"no-store" == answer.headers[b"cache-control"]
    assert answer.headers[b"content-disposition"].startswith(b"attachment;")


async def test_name_of_a_download_is_whole(api):
    """Any name comes through: spaces, quotes, line feeds, Unicode. Before it stands a plain one."""
    workspace = await api.create()
    (workspace / 'a "ü;\n').write_text("x")
    answer = await api.raw("/a%20%22%C3%BC%3B%0A")
    expected = b"attachment; filename=\"a __;_\"; filename*=UTF-8''a%20%22%C3%BC%3B%0A"
    assert (200, expected) == (answer.status, answer.headers[b"content-disposition"])


async def test_large_file_comes_in_pieces_and_whole(api):
    """A file of several pieces has its length in the head and all of its bytes in the body."""
    workspace = await api.create()
    content = os.urandom(3 * 1024 * 1024 + 17)
    (workspace / "large").write_bytes(content)
    answer = await api.raw("/large")
    assert str(len(content)).encode() == answer.headers[b"content-length"]
    assert content == answer.body
    assert [] == await left_open()


async def test_empty_file_is_read_and_written(api):
    """No bytes are bytes too."""
    workspace = await api.create()
    _, written = await api.upload(("empty", b""))
    answer = await api.raw("/empty")
    assert [{"path": "empty", "written": True, "size": 0}] == written["files"]
    assert (200, b"0", b"") == (answer.status, answer.headers[b"content-length"], answer.body)
    assert b"" == (workspace / "empty").read_bytes()


async def test_head_of_a_file_is_its_head_alone(api):
    """HEAD tells size and type, and sends nothing."""
    await api.create()
    answer = await api.raw("/src/main.py", "HEAD")
    assert (200, b"12", b"") == (answer.status, answer.headers[b"content-length"], answer.body)
    assert [] == await left_open()


async def test_file_that_is_too_large_is_refused(api, monkeypatch):
    """JSON takes up to 1 MiB and says what takes more; at last there is a limit to that too."""
    workspace = await api.create()
    (workspace / "fits").write_bytes(b"x" * 1024 * 1024)
    (workspace / "over").write_bytes(b"x" * (1024 * 1024 + 1))
    os.truncate(workspace / "fits", 1024 * 1024)
    monkeypatch.setattr(files, "MAX_READ", 1024 * 1024)
    assert 200 == (await api.ask("/fits?format=json"))[0]
    assert refused(await api.ask("/over?format=json"), 400, "ask for format=raw")
    assert 200 == (await api.raw("/fits")).status
    assert refused(await api.ask("/over"), 400, "1048577 bytes")
    assert [] == await left_open()


async def test_hundred_megabytes_are_what_can_be_read(api):
    """A file of 100 MiB is offered, one of a byte more is not; sizes are told, not read."""
    workspace = await api.create()
    for name, size in (("fits", 100 * 1024 * 1024), ("over", 100 * 1024 * 1024 + 1)):
        (workspace / name).touch()
        os.truncate(workspace / name, size)
    assert [200, 400] == [(await api.raw(f"/{name}", "HEAD")).status for name in ("fits", "over")]


async def test_bytes_that_are_no_text_are_replaced_in_json(api):
    """JSON can't hold what is not UTF-8: it has U+FFFD there, and the size of the file."""
    workspace = await api.create()
    (workspace / "latin").write_bytes(b"caf\xe9")
    _, shown = await api.ask("/latin?format=json")
    assert ("caf\ufffd", 4) == (shown["content"], shown["size"])


async def test_file_that_shrinks_breaks_the_answer_off(api, monkeypatch):
    """A client can tell that what it has is not the whole: the answer ends before its length."""
    workspace = await api.create()
    (workspace / "file").write_bytes(b"x" * 1_000_000)
    read = SessionFiles.read

    async def cut_first(self, file, start, length):
        os.truncate(workspace / "file", 300_000)
        return await read(self, file, start, length)

    monkeypatch.setattr(SessionFiles, "read", cut_first)
    with pytest.raises(h11.RemoteProtocolError):
        await api.raw("/file")
    assert [] == await left_open()


async def test_file_that_moves_while_it_is_read_comes_whole(api, monkeypatch):
    """A session that is paused while a file is sent doesn't cut it, nor mix it with another."""
    workspace = await api.create()
    content = os.urandom(1_000_000)
    (workspace / "file").write_bytes(content)
    read = SessionFiles.read

    async def move_first(self, file, start, length):
        Workspaces(api.data).keep(api.session)
        return await read(self, file, start, length)

    monkeypatch.setattr(SessionFiles, "read", move_first)
    assert content == (await api.raw("/file")).body
    assert not workspace.exists()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/..", '".."'),
        ("/../secret", '".."'),
        ("/%2e%2e/secret", '".."'),
        ("/src/..%2f..%2fsecret", '".."'),
        ("//etc/passwd", "absolute"),
        ("/%2Fetc%2Fpasswd", "absolute"),
        ("/a%00b", "NUL"),
        ("/.", "missing"),
        ("/out", "leads out"),
        ("/out/secret", "leads out"),
        ("/root/etc/passwd", "leads out"),
        ("/src", "is a folder"),
        ("/fifo", "not a regular file"),
    ],
)
async def test_bad_path_is_refused_in_words(api, path, reason):
    """Whatever leads out or is no file is a 400 for reading, on live and on kept files."""
    for place in ("sandboxes", "sessions"):
        workspace = await api.create(place=place)
        (workspace / "out").symlink_to("../../..")
        (workspace / "root").symlink_to("/proc/self/root")
        os.mkfifo(workspace / "fifo")
        assert refused(await api.ask(path), 400, reason)
        assert refused(await api.ask(f"{path}?format=json"), 400, reason)


async def test_what_changes_files_says_where(api):
    """Disk limits are checked after each change, also after one that failed half way."""
    workspace = await api.create()
    await api.ask()
    await api.raw("/src/main.py")
    assert [] == api.changed
    await api.upload(("a", b"a"), ("b", b"b"))
    await api.ask("/a", "DELETE")
    await api.ask("/nothing", "DELETE")
    assert [workspace] * 3 == api.changed


@pytest.mark.parametrize("path", ["/../secret", "//etc/passwd", "/a%00b", "/out", "/out/secret"])
async def test_bad_path_is_not_deleted(api, path):
    """Whatever leads out is a 400 for deleting, and nothing goes."""
    workspace = await api.create()
    (workspace / "out").symlink_to("../../../..")
    status, _ = await api.ask(path, "DELETE")
    assert 400 == status
    assert (workspace / "out").is_symlink()
    assert (api.data.parent / "secret").exists()


async def test_missing_file_is_not_found(api):
    """A file that is not there is a 404 for reading and for deleting."""
    await api.create()
    assert refused(await api.ask("/nothing"), 404, "There is no file")
    assert refused(await api.ask("/nothing", "DELETE"), 404, "There is no file")


async def test_session_of_another_has_no_files(api):
    """Another tenant's session, an unknown and a malformed one are all the same 404."""
    workspace = await api.create()
    body = json.dumps({"files": [{"path": "x", "content": ""}]}).encode()
    for options in ({"tenant": "other"}, {"session": str(uuid4())}, {"session": ".."}):
        for path, method in (
            ("", "GET"),
            ("/src/main.py", "GET"),
            ("/src/main.py?format=json", "GET"),
            ("/src/main.py", "DELETE"),
        ):
            assert 404 == (await api.ask(path, method, **options))[0]
        assert 404 == (await api.ask(method="POST", body=body, **options))[0]
    assert [".env", "src/main.py"] == tree(workspace)


async def test_session_without_files_says_so(api):
    """A session whose files are gone is a 404 with other words than one that never was."""
    await api.create(place=None)
    assert refused(await api.ask(), 404, "no files any more")
    assert 404 == (await api.ask("/x"))[0]
    assert 404 == (await api.upload(("x", b"x")))[0]


async def test_files_go_where_they_are_meant_for(api):
    """`targetPath` is the folder for all; the answer has each path from the workspace on."""
    workspace = await api.create()
    status, answer = await api.upload(("a", b"1"), ("b/c", b"22"), targetPath="up/load/")
    assert (200, ["up/load/a", "up/load/b/c"]) == (status, [f["path"] for f in answer["files"]])
    assert [".env", "src/main.py", "up/load/a", "up/load/b/c"] == tree(workspace)


@pytest.mark.parametrize("target", ["", ".", "./"])
async def test_workspace_itself_can_be_the_target(api, target):
    """An empty target is the workspace."""
    await api.create()
    _, answer = await api.upload(("a", b"1"), targetPath=target)
    assert "a" == answer["files"][0]["path"]


async def test_what_can_be_written_is_written(api):
    """What is wrong with one file is said of that one; the others are written."""
    workspace = await api.create()
    status, answer = await api.upload(
        ("src", b"x"), ("bad", "%%%%"), ("src/main.py/x", b"x"), ("good", b"x")
    )
    assert 200 == status
    assert [False, False, False, True] == [file["written"] for file in answer["files"]]
    reasons = [file.get("error") for file in answer["files"]]
    assert '"src" is a folder, not a file' == reasons[0]
    assert 'The content of "bad" is not base64' == reasons[1]
    assert 'A part of "src/main.py/x" is a file, not a folder' == reasons[2]
    assert [".env", "good", "src/main.py"] == tree(workspace)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("../x", {}),
        ("/etc/x", {}),
        ("a\0b", {}),
        (".", {}),
        ("out/x", {}),
        ("out", {}),
        ("x", {"targetPath": ".."}),
        ("x", {"targetPath": "/"}),
        ("x", {"targetPath": "out"}),
    ],
)
async def test_path_that_leads_out_is_refused(api, path, more):
    """If every path leads out, that is a 400, and nothing is written."""
    workspace = await api.create()
    (workspace / "out").symlink_to("../..")
    status, _ = await api.upload((path, b"x"), **more)
    assert 400 == status
    assert [".env", "src/main.py"] == tree(workspace)


async def test_path_that_leads_out_is_refused_alone(api):
    """A path out is an error of that file; the others of the batch are written."""
    workspace = await api.create()
    (workspace / "out").symlink_to("../..")
    status, answer = await api.upload(("../x", b"x"), ("good", b"x"), ("out/x", b"x"))
    assert 200 == status
    assert [False, True, False] == [file["written"] for file in answer["files"]]
    assert ["../x", "good", "out/x"] == [file["path"] for file in answer["files"]]
    assert [".env", "good", "src/main.py"] == tree(workspace)


async def test_mode_of_a_written_file(api):
    """A file has the mode that it was sent with, or that of the file it replaces, or 644."""
    workspace = await api.create()
    wanted = [("a", {"mode": "0700"}), ("b", {"executable": True}), ("c", {})]
    files = [{"path": path, "content": "", **more} for path, more in wanted]
    await api.ask(method="POST", body=json.dumps({"files": files}).encode())
    await api.upload(("a", b"again"), ("b", b"again"))
    modes = [stat.S_IMODE((workspace / name).stat().st_mode) for name in "abc"]
    assert [0o700, 0o755, 0o644] == modes


async def test_hook_that_is_written_can_be_executed(api):
    """Hooks, scripts of skills and what a hook's command names, whatever mode they came with."""
    workspace = await api.create()
    settings = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "./check.sh -x"}]}]}}
    await api.upload((".claude/settings.json", json.dumps(settings).encode()))
    scripts = [".claude/hooks/a.sh", ".claude/skills/pdf/scripts/deep/b.py", "check.sh"]
    paths = [*scripts, "other.sh"]
    script = encoded(b"#!/bin/sh\n")
    files = [{"path": path, "content": script, "mode": "644"} for path in paths]
    await api.ask(method="POST", body=json.dumps({"files": files}).encode())
    modes = [stat.S_IMODE((workspace / path).stat().st_mode) for path in paths]
    assert [0o755, 0o755, 0o755, 0o644] == modes

    later = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "./other.sh"}]}]}}
    await api.upload((".claude/settings.local.json", json.dumps(later).encode()))
    assert 0o755 == stat.S_IMODE((workspace / "other.sh").stat().st_mode)


async def test_script_that_is_written_without_a_mode_is_executable(api):
    """What begins with `#!` was executable where it came from; other files are not."""
    workspace = await api.create()
    await api.upload(("run.sh", b"#!/bin/sh\n"), ("text", b"echo"), (".claude/hooks/a.md", b"#"))
    paths = ("run.sh", "text", ".claude/hooks/a.md")
    modes = [stat.S_IMODE((workspace / path).stat().st_mode) for path in paths]
    assert [0o755, 0o644, 0o644] == modes


async def test_name_that_is_not_utf_8_is_a_file_like_any_other(api):
    """What a list calls it reads, writes and deletes it; another spelling finds nothing."""
    workspace = await api.create()
    odd = workspace / os.fsdecode(b"caf\xe9.txt")
    odd.write_text("x")
    _, answer = await api.ask()
    (listed,) = [file["path"] for file in answer["files"] if "caf" in file["path"]]
    assert "caf\ufffdE9.txt" == listed
    url = "/" + quote(listed)
    assert b"x" == (await api.raw(url)).body
    assert listed == (await api.ask(f"{url}?format=json"))[1]["path"]
    await api.upload((listed, b"new"))
    assert "new" == odd.read_text()
    assert refused(await api.ask("/caf%EF%BF%BD.txt"), 404, "There is no file")
    assert (200, {"path": listed, "deleted": True}) == await api.ask(url, "DELETE")
    assert not odd.exists()
    assert refused(await api.ask(url), 404, f'There is no file "{listed}"')


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "files: this field is required"),
        ({"files": []}, "files:"),
        ({"files": [{"path": "a", "content": ""}] * 501}, "files:"),
        ({"files": [{"content": ""}]}, "files[0].path: this field is required"),
        ({"files": [{"path": "a"}]}, "files[0].content: this field is required"),
        ({"files": [{"path": "a", "content": 7}]}, "files[0].content:"),
        ({"files": [{"path": "", "content": ""}]}, "files[0].path:"),
        ({"files": [{"path": "a", "content": ""}], "targetPath": 1}, "targetPath:"),
    ],
)
async def test_bad_upload_names_the_field(api, body, field):
    """What does not fit is a 400 that names the field and the rule."""
    await api.create()
    status, answer = await api.ask(method="POST", body=json.dumps(body).encode())
    assert (400, True) == (status, answer["error"].startswith(field)), answer


async def test_five_hundred_files_are_one_batch(api):
    """As many files as a batch may have are written."""
    workspace = await api.create()
    _, answer = await api.upload(*((f"many/{number}", b"x") for number in range(500)))
    assert all(file["written"] for file in answer["files"])
    assert 500 == len(tree(workspace / "many"))


async def test_batch_larger_than_any_other_body_is_taken(api):
    """The limit of 50 MB for bodies does not hold for the 100 MB that files may have."""
    workspace = await api.create()
    content = os.urandom(20 * 1024 * 1024)
    _, answer = await api.upload(("a", content), ("b", content))
    sizes = [file["size"] for file in answer["files"]]
    assert [len(content)] * 2 == sizes
    assert content == (workspace / "a").read_bytes() == (workspace / "b").read_bytes()


async def test_file_that_is_too_large_is_not_written(api, monkeypatch):
    """A file over the limit is told; the others are written."""
    workspace = await api.create()
    monkeypatch.setattr(files, "MAX_WRITTEN", 1024 * 1024)
    _, answer = await api.upload(
        ("fits", b"x" * 1024 * 1024), ("over", b"x" * (1024 * 1024 + 1)), ("good", b"x")
    )
    assert [True, False, True] == [file["written"] for file in answer["files"]]
    assert '"over" has more than 1 MB' == answer["files"][1]["error"]
    assert [".env", "fits", "good", "src/main.py"] == tree(workspace)


async def test_batch_that_is_too_large_is_not_written(api, monkeypatch):
    """Files that are too much together are a 413, and none is written."""
    workspace = await api.create()
    monkeypatch.setattr(files, "MAX_BATCH", 3)
    assert 200 == (await api.upload(("a", b"x"), ("b", b"xx")))[0]
    assert refused(await api.upload(("c", b"xx"), ("d", b"xx")), 413, "together")
    assert [".env", "a", "b", "src/main.py"] == tree(workspace)


async def test_body_that_is_too_large_is_refused(api, monkeypatch):
    """A body over the limit is a 413, told by its length or, in chunks, once it is over."""
    await api.create()
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BODY", 2 * 1024 * 1024)
    body = b"x" * (2 * 1024 * 1024 + 1)
    told = await api.ask(method="POST", body=body)
    await api.connect()
    await api.client.send(
        f"POST /api/sessions/{api.session}/files HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {KEYS['default']}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    )
    seen = await api.client.answer("POST")
    assert refused(told, 413, "larger than 2 MB")
    assert refused((seen.status, json.loads(seen.body)), 413, "larger than 2 MB")


async def test_write_into_files_that_are_replaced_is_a_conflict(api, monkeypatch):
    """What was written into a workspace that is no longer the session's was not written."""
    workspace = await api.create()
    write = files.write_file

    def replaced(*args):
        size = write(*args)
        workspace.rename(workspace.with_name("old"))
        workspace.mkdir()
        return size

    monkeypatch.setattr(files, "write_file", replaced)
    assert refused(await api.upload(("a", b"x")), 409, "moved meanwhile")


async def test_files_that_move_while_they_are_written_arrive(api, monkeypatch):
    """A session that is paused while files are written keeps them."""
    await api.create()
    write = files.write_file

    def moved(*args):
        Workspaces(api.data).keep(api.session)
        return write(*args)

    monkeypatch.setattr(files, "write_file", moved)
    status, _ = await api.upload(("a", b"x"), ("b", b"y"))
    kept = api.data / "sessions" / api.session / "workspace"
    assert (200, [".env", "a", "b", "src/main.py"]) == (status, tree(kept))


async def test_session_that_moves_between_two_looks_is_found(api, monkeypatch):
    """Files that are put away or taken up again between a look here and one there are found."""
    workspace = await api.create(place="sessions")
    live = api.data / "sandboxes" / api.session
    looks = []

    def open_folder(path):
        looks.append(path)
        if len(looks) == 1:
            raise FileNotFoundError
        if len(looks) == 2:
            live.parent.mkdir()
            workspace.parent.rename(live)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    monkeypatch.setattr("ash.workspaces.workspaces.open_folder", open_folder)
    status, found = await api.ask()
    assert (200, "sandbox") == (status, found["source"])


async def test_wrong_method_is_told_with_those_that_fit(api):
    """Files can't be put or patched: a 405 with what is allowed."""
    await api.create()
    answer = await api.raw("/src/main.py", "PUT")
    assert 405 == answer.status
    assert {b"DELETE", b"GET", b"HEAD", b"OPTIONS"} == set(answer.headers[b"allow"].split(b", "))
