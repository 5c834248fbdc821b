"""What a program in bubblewrap sees and may do."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ash.isolation import uids
from ash.isolation.uids import COUNT, FIRST, Uids
from tests.isolation.conftest import acquired, bubblewrap, descriptors, output, run

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def test_program_runs_in_the_workspace(isolation, host_paths):
    """A program starts in its workspace and has its own home and temporary folders."""
    said = output(isolation, host_paths, "pwd; touch here ~/home /tmp/tmp; ls /home; ls /tmp/tmp")
    assert "/workspace\nagent\n/tmp/tmp" == said
    assert ["here"] == [file.name for file in host_paths.workspace.iterdir()]
    assert ["home"] == [file.name for file in host_paths.home.iterdir()]


def test_environment_is_only_the_given_one(isolation, host_paths):
    """No process inside has a variable of the daemon's environment."""
    said = output(isolation, host_paths, "tr '\\0' '\\n' </proc/1/environ; env", {"ONE": "1"})
    by_the_shell = {"PWD=/workspace", "SHLVL=0", "_=/usr/bin/env"}
    assert {"ONE=1"} == set(said.splitlines()) - by_the_shell


@pytest.mark.parametrize("own_user", [True, False])
def test_environment_has_nothing_of_a_shell_in_front(host_paths, own_user):
    """A shell that starts bubblewrap leaves no variable in the sandbox."""
    shell = ["/bin/sh", "-c", 'export TRACE=1; exec "$@"', "sh"]
    isolation = bubblewrap(own_user=own_user)
    assert "" == output(isolation, host_paths, "cat /proc/1/environ", prefix=shell)


@pytest.mark.parametrize("value", ["", "a  b", "'\"$x`", "one\ntwo", "--setenv", "=", "é \udcff"])
def test_environment_takes_any_text(isolation, host_paths, value):
    """Values with spaces, quotes, line feeds, options and half a character arrive unchanged."""
    code = "import os; print(ascii(os.environ['X']))"
    done = run(isolation, host_paths, [sys.executable, "-c", code], {"X": value, "LANG": "C.UTF-8"})
    assert ascii(value) == done.stdout.strip()


def test_command_lines_say_nothing_of_the_host(isolation, host_paths):
    """No command line inside contains a folder of the host."""
    said = output(isolation, host_paths, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert str(host_paths.workspace.parent) not in said
    assert "bind" not in said


@pytest.mark.parametrize("is_init", [False, True])
def test_program_gets_no_descriptor_but_its_own(isolation, host_paths, is_init):
    """The descriptors for bubblewrap are closed in all processes inside."""
    command = "readlink /proc/1/fd/* /proc/2/fd/* || true"
    said = run(isolation, host_paths, command, is_init=is_init).stdout
    of_bubblewrap = set() if is_init else {"anon_inode"}
    found = {line.split(":")[0] for line in said.split()}
    assert {"pipe", "/dev/null"} | of_bubblewrap == found


def test_exit_code_is_the_program_s(isolation, host_paths):
    """The exit code is the program's; a signal is reported as a shell does."""
    assert 7 == run(isolation, host_paths, "exit 7").returncode
    assert 128 + 15 == run(isolation, host_paths, "kill -15 $$").returncode


def test_user_inside_is_no_root(isolation, host_paths):
    """The user inside is agent, number 1000, in no other group."""
    assert "uid=1000(agent) gid=1000(agent) groups=1000(agent)" == output(
        isolation, host_paths, "id"
    )


def test_groups_of_the_daemon_are_left(isolation, host_paths):
    """A sandbox has none of the daemon's groups."""
    prefix = ["/usr/bin/setpriv", "--groups=4,24"] if os.geteuid() == 0 else []
    assert "agent" == output(isolation, host_paths, "id -Gn", prefix=prefix)


@pytest.mark.parametrize("own_user", [True, False])
def test_capabilities_are_none(host_paths, own_user):
    """No process has a capability or can get one, even if the daemon is root."""
    said = output(bubblewrap(own_user=own_user), host_paths, "grep -h ^Cap /proc/[0-9]*/status")
    assert {"0000000000000000"} == {line.split()[1] for line in said.splitlines()}


def test_user_outside_is_the_sandbox_s_own(isolation, host_paths):
    """If the daemon is root, a sandbox has its own host user, and else the daemon's."""
    output(isolation, host_paths, "touch file")
    owner = uids.owner(host_paths.workspace / "file")
    assert owner == uids.owner(host_paths.workspace) == uids.owner(host_paths.home)
    assert (os.geteuid() == 0) == (FIRST < owner < FIRST + COUNT)
    assert (os.geteuid() != 0) == (os.geteuid() == owner)


def test_users_of_two_sandboxes_differ(tmp_path, host_paths):
    """Two live sandboxes have different users; one that comes again keeps its user."""
    users = Uids()
    isolation = bubblewrap(users=users)
    with acquired(isolation, host_paths) as first:
        other = Path(tmp_path / "other")
        other.mkdir()
        assert first.uid != users.take(uids.owner(first.workspace))
    with acquired(isolation, host_paths) as again:
        assert first.uid == again.uid


def test_acquire_that_fails_gives_the_user_back(host_paths, monkeypatch):
    """If the folders can't be given to the user, the user is free again."""
    users = Uids(count=2)

    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(uids, "give", fail)
    with pytest.raises(PermissionError):
        bubblewrap(users=users).acquire(host_paths)
    assert users.root + 1 == users.take(0)


def test_namespaces_are_all_its_own(isolation, host_paths):
    """The sandbox shares no kind of namespace with the host."""
    paths = [Path("/proc/self/ns", kind) for kind in NAMESPACES]
    inside = output(isolation, host_paths, ["readlink", *map(str, paths)]).split()
    outside = [str(path.readlink()) for path in paths]
    assert [] == [one for one, other in zip(inside, outside, strict=True) if one == other]


@pytest.mark.parametrize(
    "command", ["unshare --user true", "mount -t tmpfs none /tmp", "umount -l /proc", "chroot /"]
)
def test_namespaces_hold_without_the_filter(host_paths, command):
    """Without the seccomp filter, namespaces and capabilities still isolate."""
    assert 0 != run(bubblewrap(filtered=False), host_paths, command).returncode


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/dev", "/opt/ash", "/run/ash", "/root"])
def test_root_can_not_be_written(isolation, host_paths, path):
    """Only the sandbox's own folders can be written."""
    done = run(isolation, host_paths, f"mkdir -p {path} && touch {path}/new")
    assert 0 != done.returncode
    assert "ead-only file system" in done.stderr or "Permission denied" in done.stderr


def test_memory_that_looks_like_disk_is_bounded(isolation, host_paths):
    """/tmp and /dev/shm hold only a bounded amount."""
    said = output(isolation, host_paths, "df -m --output=size /tmp /dev/shm")
    assert ["512", "256"] == said.split()[1:]


def test_readable_folder_is_there_wherever_it_lies(host_paths, tmp_path):
    """A readable folder is visible even below a closed one, but nothing next to it."""
    shown = tmp_path / "closed" / "shown"
    shown.mkdir(parents=True)
    (shown / "file").write_text("hello")
    (tmp_path / "closed" / "beside").write_text("secret")
    (tmp_path / "closed").chmod(0o700)
    isolation = bubblewrap(readable=[shown])

    assert "hello" == output(isolation, host_paths, f"cat {shown}/file")
    assert "shown" == output(isolation, host_paths, f"ls {tmp_path}/closed")
    assert 0 != run(isolation, host_paths, f"touch {shown}/file").returncode


def test_hidden_folder_is_empty_wherever_it_lies(host_paths, tmp_path):
    """A hidden folder below a visible one is empty."""
    data = tmp_path / "shown" / "data"
    data.mkdir(parents=True)
    (data / "secret").touch()
    isolation = bubblewrap(readable=[tmp_path / "shown"], hidden=[data])
    assert "data" == output(isolation, host_paths, f"ls {tmp_path}/shown; ls -A {data}")
    assert 0 != run(isolation, host_paths, f"touch {data}/new").returncode


def test_sockets_can_be_called_and_not_changed(isolation, host_paths):
    """A program can connect to the proxy's socket but not change its folder."""
    path = host_paths.sockets / "way-out.sock"
    call = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/ash/way-out.sock')"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        output(isolation, host_paths, [sys.executable, "-c", call])
        assert 0 != run(isolation, host_paths, "rm -f /run/ash/way-out.sock").returncode
    assert path.exists()


def test_network_is_loopback_alone(isolation, host_paths):
    """Loopback works, and there is no other interface."""
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(s.getsockname()); print([n for _, n in socket.if_nameindex()])"
    )
    assert "['lo']" == output(isolation, host_paths, [sys.executable, "-c", code])


def test_program_may_be_the_first_process(isolation, host_paths):
    """As number 1 it can't be stopped or killed from inside, and its exit code is that of all."""
    attack = "for signal in STOP KILL TERM; do /bin/kill -$signal 1; done; sleep 0.1"
    done = run(isolation, host_paths, f"echo $$; ({attack}); exit 7", is_init=True)
    assert ("1\n", 7) == (done.stdout, done.returncode)


@pytest.mark.parametrize("is_init", [False, True])
def test_sandbox_ends_with_its_outer_process(isolation, host_paths, is_init):
    """Killing the outer process kills every process inside."""
    ours, theirs = os.pipe()
    command = ["/bin/bash", "-c", f"setsid sleep 30 & sleep 30 & echo >&{theirs}; wait"]
    with acquired(isolation, host_paths) as there:
        env = {"PATH": "/usr/bin:/bin"}
        wrapped = isolation.wrap(command, there, env, is_init=is_init)
        outer = subprocess.Popen(wrapped.argv, env=wrapped.env, pass_fds=[theirs, *wrapped.fds])
        for fd in (theirs, *wrapped.fds):
            os.close(fd)
        with os.fdopen(ours, "rb") as alive:
            assert b"\n" == alive.readline()
            outer.kill()
            outer.wait()
            assert ([alive], [], []) == select.select([alive], [], [], 10)
            assert b"" == alive.read()


def test_wrap_leaves_no_descriptor_behind(isolation, host_paths):
    """`wrap` returns its descriptors, and closes them on an error."""
    before = descriptors()
    with acquired(isolation, host_paths) as there:
        wrapped = isolation.wrap(["true"], there, {})
        assert before | set(wrapped.fds) == descriptors()
        for fd in wrapped.fds:
            os.close(fd)
        with pytest.raises(UnicodeEncodeError):
            isolation.wrap(["true"], there, {"X": "\ud800"})
    assert before == descriptors()
