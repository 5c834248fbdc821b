"""Opened files lie below their folder, whatever an agent does to links and folders meanwhile."""

import errno
import os
import socket
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ash.errors import BadRequest
from ash.workspaces import safe_open
from ash.workspaces.safe_open import FOLDER, checked_path, open_beneath, open_folder

SECRET = "secret"
LEADS_OUT = {errno.EXDEV, errno.ELOOP}


@pytest.fixture
def workspace(tmp_path):
    """A workspace next to a file that must not be read."""
    (tmp_path / "secret").write_text(SECRET)
    folder = tmp_path / "workspace"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("inside")
    return folder


@pytest.fixture
def root(workspace):
    fd = open_folder(workspace)
    yield fd
    os.close(fd)


@pytest.fixture(params=["kernel", "steps"])
def resolver(request, monkeypatch):
    """Both ways to open: by openat2, and one component at a time."""
    by_kernel = request.param == "kernel"
    monkeypatch.setattr(safe_open, "_kernel_resolves", lambda: by_kernel)
    return request.param


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(safe_open, "_kernel_resolves", lambda: True)


def read(root, path):
    fd = open_beneath(root, path, os.O_RDONLY)
    with os.fdopen(fd) as file:
        return file.read()


def refusal(root, path, flags=os.O_RDONLY):
    with pytest.raises(OSError) as caught:
        open_beneath(root, path, flags)
    return caught.value.errno


@contextmanager
def meanwhile(act):
    """Repeats an action in a thread."""
    stop = threading.Event()

    def run():
        while not stop.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def outcomes(root, path, refusals):
    """Reads a file again and again, until both a success and a refusal have been seen."""
    texts, errors = set(), set()
    for attempt in range(200_000):
        try:
            texts.add(read(root, path))
        except OSError as error:
            errors.add(error.errno)
        if attempt > 2000 and texts and errors & refusals:
            break
    return texts, errors


@pytest.mark.parametrize(
    ("path", "checked"),
    [
        ("a", "a"),
        ("a/b.txt", "a/b.txt"),
        ("a//b/./c/", "a/b/c"),
        ("./a", "a"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("ü 日本\n", "ü 日本\n"),
    ],
)
def test_path_is_brought_to_its_shortest_form(path, checked):
    """Empty components and single dots are removed; other names with dots stay."""
    assert checked == checked_path(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("..", '".." in it'),
        ("../secret", '".." in it'),
        ("a/../../secret", '".." in it'),
        ("a/..", '".." in it'),
        ("/etc/passwd", "absolute"),
        ("//etc", "absolute"),
        ("/", "absolute"),
        ("a\0b", "NUL"),
        ("", "missing"),
        (".", "missing"),
        ("./", "missing"),
        ("x/" * 2048, "longer than 4095 bytes"),
        ("ü" * 2048, "longer than 4095 bytes"),
    ],
)
def test_path_that_is_not_below_a_folder_is_refused(path, reason):
    """`..`, absolute paths, NUL, empty and overlong paths are refused."""
    with pytest.raises(BadRequest, match=reason):
        checked_path(path)


def test_kernel_of_this_machine_resolves():
    """This machine has openat2, so both ways are really tested."""
    assert safe_open._kernel_resolves()


def test_file_below_is_opened(root, resolver):
    """A path of plain folders leads to its file."""
    assert "inside" == read(root, "sub/file")


def test_folder_itself_is_opened(root, workspace, resolver):
    """A dot is the folder itself."""
    fd = open_beneath(root, ".", FOLDER)
    assert os.path.samestat(os.fstat(fd), workspace.stat())
    os.close(fd)


def test_missing_file_is_an_os_error(root, resolver):
    """A missing file is ENOENT, and a path below a file is ENOTDIR."""
    assert errno.ENOENT == refusal(root, "nothing")
    assert errno.ENOENT == refusal(root, "no/thing")
    assert errno.ENOTDIR == refusal(root, "sub/file/x")
    assert errno.ENOTDIR == refusal(root, "sub/file", FOLDER)


def test_descriptor_is_not_inherited(root, resolver):
    """A program that is started meanwhile does not inherit the descriptor."""
    fd = open_beneath(root, "sub/file", os.O_RDONLY)
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(
    "target",
    [
        "{outside}/secret",
        "../secret",
        "sub/../../secret",
        "/proc/self/root{outside}/secret",
        "../../../../../../../../../../proc/self/root/etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "{workspace}/sub/file",
    ],
)
def test_link_out_is_refused(root, workspace, resolver, target):
    """A link to a file outside and any absolute link are refused."""
    target = target.format(outside=workspace.parent, workspace=workspace)
    (workspace / "link").symlink_to(target)
    assert refusal(root, "link") in LEADS_OUT


@pytest.mark.parametrize("target", ["{outside}", "..", "../workspace", "/", "/proc/self/root"])
def test_path_through_a_link_out_is_refused(root, workspace, resolver, target):
    """A link out in the middle of a path is refused, even if the path comes back."""
    (workspace / "link").symlink_to(target.format(outside=workspace.parent))
    for path in ("link/secret", "link/workspace/sub/file", "link/etc/passwd"):
        assert refusal(root, path) in LEADS_OUT
        assert refusal(root, path, os.O_PATH) in LEADS_OUT


def test_link_out_behind_a_link_inside_is_refused(root, workspace, resolver):
    """Each link of a chain is checked."""
    (workspace / "first").symlink_to("sub/second")
    (workspace / "sub" / "second").symlink_to("../../secret")
    assert refusal(root, "first") in LEADS_OUT


def test_links_in_a_circle_are_refused(root, workspace, resolver):
    """Links in a circle are an error."""
    (workspace / "a").symlink_to("b")
    (workspace / "b").symlink_to("a")
    assert errno.ELOOP == refusal(root, "a")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("sub/file", "link"),
        ("sub", "link/file"),
        ("sub/../sub/./file", "link"),
        (".", "link/sub/file"),
    ],
)
def test_link_inside_is_followed_by_the_kernel(root, workspace, kernel, target, path):
    """With openat2 a link that stays inside is followed, also one with `..`."""
    (workspace / "link").symlink_to(target)
    assert "inside" == read(root, path)


def test_link_inside_is_refused_without_openat2(root, workspace, monkeypatch):
    """Without openat2 no link is followed."""
    monkeypatch.setattr(safe_open, "_kernel_resolves", lambda: False)
    (workspace / "link").symlink_to("sub")
    (workspace / "sub" / "link").symlink_to("file")
    assert errno.ELOOP == refusal(root, "link/file")
    assert errno.ELOOP == refusal(root, "sub/link")
    assert errno.ELOOP == refusal(root, "sub/link", os.O_PATH)
    assert errno.ELOOP == refusal(root, "link", FOLDER)


def test_magic_link_is_refused(resolver):
    """A magic link of /proc, which may lead anywhere, is refused."""
    fd = open_folder(f"/proc/{os.getpid()}")
    try:
        for path in ("root/etc/passwd", "cwd/x", "exe", f"fd/{fd}"):
            assert refusal(fd, path) in LEADS_OUT
    finally:
        os.close(fd)


def test_other_file_system_below_is_refused(kernel):
    """A file system that is mounted below the folder is refused."""
    fd = open_folder("/")
    try:
        assert errno.EXDEV == refusal(fd, "proc/self/environ")
    finally:
        os.close(fd)


def test_fifo_is_opened_without_waiting(root, workspace, resolver):
    """Opening a FIFO does not wait for a writer."""
    os.mkfifo(workspace / "fifo")
    fd = open_beneath(root, "fifo", os.O_RDONLY)
    assert stat.S_ISFIFO(os.fstat(fd).st_mode)
    os.close(fd)


def test_socket_is_not_opened(root, workspace, resolver, monkeypatch):
    """A socket in the workspace can't be opened."""
    monkeypatch.chdir(workspace)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert errno.ENXIO == refusal(root, "socket")


def test_folder_that_moves_stays_open(root, workspace, resolver):
    """The descriptor stays valid when the folder is renamed."""
    workspace.rename(workspace.parent / "kept")
    workspace.mkdir()
    assert "inside" == read(root, "sub/file")


def test_name_of_the_workspace_may_not_be_a_link(workspace):
    """A workspace that is itself a link is refused."""
    link = workspace.parent / "link"
    link.symlink_to(workspace)
    with pytest.raises(NotADirectoryError):
        open_folder(link)


def test_link_that_is_swapped_never_leads_out(root, workspace, resolver):
    """A folder that is swapped for a link again and again shows only files inside."""
    real, fake = workspace / "real", workspace / "fake"
    real.mkdir()
    (real / "secret").write_text("inside")
    fake.symlink_to("..")
    place = workspace / "place"

    def swap():
        for one in (real, fake):
            one.rename(place)
            place.rename(one)

    with meanwhile(swap):
        texts, errors = outcomes(root, "place/secret", LEADS_OUT)

    assert {"inside"} == texts
    assert errors & LEADS_OUT


def test_file_that_is_swapped_for_a_link_never_leads_out(root, workspace, resolver):
    """A file that is swapped for a link again and again is never read outside."""
    place, file, link = (workspace / name for name in ("place", "file", "link"))

    def swap():
        file.write_text("inside")
        file.replace(place)
        link.symlink_to("../secret")
        link.replace(place)

    with meanwhile(swap):
        texts, errors = outcomes(root, "place", LEADS_OUT)

    assert {"inside"} == texts
    assert errors & LEADS_OUT


def test_folder_that_moves_up_never_leads_out(root, workspace, kernel):
    """A `..` in a link never leads out while folders are moved."""
    deep = workspace / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "link").symlink_to("../../secret")
    (workspace / "secret").write_text("inside")

    def move():
        deep.rename(workspace / "b")
        (workspace / "b" / "link").rename(workspace / "link")
        (workspace / "link").rename(workspace / "b" / "link")
        (workspace / "b").rename(deep)

    with meanwhile(move):
        texts, errors = outcomes(root, "a/b/link", {errno.ENOENT})

    assert {"inside"} == texts
    assert errors <= {errno.ENOENT, errno.EXDEV, errno.EAGAIN}


def test_nothing_is_left_open(root, workspace, resolver):
    """No descriptor is left, whether a path was opened or refused."""
    (workspace / "link").symlink_to("..")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("sub/file", "link/secret", "link", "sub/file/x", "sub/nothing", "no/thing"):
        with suppress(OSError):
            os.close(open_beneath(root, path, os.O_RDONLY))
    assert before == len(list(Path("/proc/self/fd").iterdir()))
