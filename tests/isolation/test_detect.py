"""Which isolation is chosen on which machine, and how a failure is explained."""

import os
import subprocess
import sys
import tempfile
from importlib import import_module

import pytest

from ash.errors import StartError
from ash.isolation import detect, root, seccomp
from ash.isolation.detect import explain
from ash.isolation.root import LIBRARY
from ash.isolation.uids import Uids
from tests.isolation.conftest import descriptors, run
from tests.support.users import python

# The package exports a function `detect`, which hides the module.
module = import_module("ash.isolation.detect")

SAY = "i = detect('{}'); print(i.name, *i.missing, sep='\\n')"
DETECT = "from ash.isolation import detect; " + SAY
INSIDE = {"PATH": "/usr/bin", "PYTHONPATH": LIBRARY}
# Like root in a container: it may become any user, but not make namespaces for others.
LESS_ROOT = ["/usr/bin/setpriv", "--bounding-set=-sys_admin"]


@pytest.fixture
def bwrap(tmp_path, monkeypatch):
    """Replaces bubblewrap by a script."""

    def put(script):
        program = tmp_path / "bwrap"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        tmp_path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


def test_strict_is_bubblewrap_with_nothing_missing():
    """If everything works, bubblewrap is used with nothing missing."""
    found = detect("strict")
    assert ("bubblewrap", ()) == (found.name, found.missing)


def test_strict_for_a_daemon_that_is_not_root():
    """Strict isolation works without root too."""
    assert "bubblewrap" == python(DETECT.format("strict"))


def test_interpreter_with_a_relative_path(tmp_path):
    """A script started by `../venv/bin/python` is isolated as well as any other."""
    (tmp_path / "venv").symlink_to(sys.prefix)
    (tmp_path / "scripts").mkdir()
    command = ["../venv/bin/python", "-c", DETECT.format("strict")]
    done = subprocess.run(
        command, cwd=tmp_path / "scripts", capture_output=True, text=True, check=False
    )
    assert "bubblewrap" == done.stdout.strip(), done.stderr


def test_none_asks_for_none():
    """Level `none` gives no isolation and says what that means."""
    found = detect("none")
    assert ("none", (module.NOT_ISOLATED,)) == (found.name, found.missing)


def test_strict_without_bubblewrap_says_how_to_get_it(monkeypatch):
    """The daemon does not start; the error says what to install and the alternative."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StartError) as error:
        detect("strict")
    assert (
        "isolation is strict, but bubblewrap is not installed (apt-get install bubblewrap)."
        " Or start without it: ASH_ISOLATION=best-effort" == str(error.value)
    )


def test_best_effort_without_bubblewrap_says_what_is_missing(monkeypatch):
    """The daemon starts without isolation, and says why and what that means."""
    monkeypatch.setenv("PATH", "/nowhere")
    found = detect("best-effort")
    said = f"{module.NOT_INSTALLED}, so {module.NOT_ISOLATED}"
    assert ("none", (said,)) == (found.name, found.missing)


def test_best_effort_with_an_older_bubblewrap(bwrap):
    """The reason is what bubblewrap has printed."""
    bwrap("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1")
    found = detect("best-effort")
    said = "bubblewrap does not work here: bwrap: Unknown option --disable-userns"
    assert ("none", (f"{said}, so {module.NOT_ISOLATED}",)) == (found.name, found.missing)


def test_best_effort_with_a_bubblewrap_that_hangs(bwrap, monkeypatch):
    """A bubblewrap that hangs is given up in bounded time."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    bwrap("exec /bin/sleep 1000")
    (missing,) = detect("best-effort").missing
    assert missing.startswith("bubblewrap does not answer, so ")


def test_probe_of_one_that_was_killed_is_removed(tmp_path, monkeypatch):
    """An old folder of a killed attempt is removed; one that may be in use stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("ash-probe-old", "ash-probe-new", "other"):
        (tmp_path / name / "workspace").mkdir(parents=True)
    for name in ("ash-probe-old", "other"):
        os.utime(tmp_path / name, (1e9, 1e9))
    detect("best-effort")
    assert ["ash-probe-new", "other"] == sorted(path.name for path in tmp_path.iterdir())


def test_best_effort_where_namespaces_are_forbidden(isolation, host_paths):
    """In a container that forbids namespaces there is no isolation."""
    done = run(isolation, host_paths, [sys.executable, "-c", DETECT.format("best-effort")], INSIDE)
    name, why = done.stdout.splitlines()
    assert "none" == name
    assert why.startswith("bubblewrap does not work here: ")


def test_strict_where_namespaces_are_forbidden(isolation, host_paths):
    """In a container that forbids namespaces a strict daemon does not start."""
    done = run(isolation, host_paths, [sys.executable, "-c", DETECT.format("strict")], INSIDE)
    assert "StartError: isolation is strict, but bubblewrap does not work here" in done.stderr


def test_best_effort_of_a_root_that_may_not_all():
    """If root can't give sandboxes their own users, they are isolated with root's user."""
    prefix = LESS_ROOT if os.geteuid() == 0 else []
    name, *missing = python(DETECT.format("best-effort"), uid=os.geteuid(), prefix=prefix).split(
        "\n"
    )
    assert "bubblewrap" == name
    assert (os.geteuid() == 0) == any("no host user of its own: " in what for what in missing)


def test_strict_needs_the_filter(monkeypatch):
    """A machine without the filter is not good enough for strict."""
    monkeypatch.setattr(seccomp, "build", lambda: None)
    with pytest.raises(StartError, match="but system calls are not filtered on "):
        detect("strict")


def test_strict_needs_a_bridge_that_can_be_read(monkeypatch):
    """A bridge that the sandbox's user can't read is noticed at the start."""
    monkeypatch.setattr(root, "_library", lambda: iter(()))
    with pytest.raises(StartError, match="No module named 'bridge'"):
        detect("strict")


def test_detect_leaves_nothing(tmp_path, monkeypatch):
    """The attempt leaves no folder, descriptor or reserved user."""
    users = Uids(count=2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = descriptors()
    detect("strict", users=users)
    assert (before, []) == (descriptors(), list(tmp_path.iterdir()))
    assert users.root + 1 == users.take(0)


REFUSED = "bwrap: setting up uid map: Permission denied"


@pytest.fixture
def machine(tmp_path):
    """A root with kernel settings, given by name."""

    def make(**switches):
        for name, value in switches.items():
            file = tmp_path / "proc/sys" / name.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("switch", "value", "hint"),
    [
        ("kernel__apparmor_restrict_unprivileged_userns", 1, "load a profile for bwrap"),
        ("kernel__unprivileged_userns_clone", 0, "set kernel.unprivileged_userns_clone=1"),
        ("user__max_user_namespaces", 0, "set user.max_user_namespaces=10000"),
    ],
)
def test_reason_is_a_switch(machine, switch, value, hint):
    """A kernel setting that forbids namespaces is named, with bubblewrap's own words."""
    said = explain(REFUSED, machine(**{switch: value}))
    assert hint in said
    assert said.endswith(f"({REFUSED})")


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_reason_is_a_container(machine, mark):
    """In a container the reason is how it was started."""
    root = machine(user__max_user_namespaces=1000)
    (root / mark).parent.mkdir(exist_ok=True)
    (root / mark).touch()
    assert "start it with --security-opt seccomp=unconfined" in explain(REFUSED, root)


def test_reason_is_unknown(machine):
    """Without a known cause, the reason is bubblewrap's last line."""
    said = f"bwrap: a warning\n{REFUSED}\n"
    assert f"bubblewrap does not work here: {REFUSED}" == explain(said, machine())


def test_reason_is_another_one(machine):
    """A kernel setting is not blamed for an unrelated failure."""
    root = machine(user__max_user_namespaces=0)
    said = "bwrap: execvp python: No such file or directory"
    assert f"bubblewrap does not work here: {said}" == explain(said, root)


def test_reason_is_silent(machine):
    """A bubblewrap that fails without a word is reported as such."""
    assert "bubblewrap does not work here: it says nothing" == explain("", machine())
