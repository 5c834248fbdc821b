import os
import sys
import tempfile
from importlib import import_module

import pytest

from ash.errors import StartError
from ash.isolation import detect, root, seccomp
from ash.isolation.root import LIBRARY
from ash.isolation.uids import Uids
from tests.isolation.conftest import descriptors, run
from tests.support.users import python

# The package has a function of that name.
module = import_module("ash.isolation.detect")

SAY = "i = detect('{}'); print(i.name, *i.missing, sep='\\n')"
DETECT = "from ash.isolation import detect; " + SAY
INSIDE = {"PATH": "/usr/bin", "PYTHONPATH": LIBRARY}
# As root of a container is: it may become anyone, but not make namespaces for others.
LESS_ROOT = ["/usr/bin/setpriv", "--bounding-set=-sys_admin"]


@pytest.fixture
def bwrap(tmp_path, monkeypatch):
    """Puts a script in the place of bubblewrap."""

    def put(script):
        program = tmp_path / "bwrap"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        tmp_path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


def test_strict_is_bubblewrap_with_nothing_missing():
    """Where all of it can be had, that is what is used."""
    found = detect("strict")
    assert ("bubblewrap", ()) == (found.name, found.missing)


def test_strict_for_a_daemon_that_is_not_root():
    """Without root there is all of it too."""
    assert "bubblewrap" == python(DETECT.format("strict"))


def test_none_asks_for_none():
    """Who asks for none gets it and hears of nothing missing."""
    found = detect("none")
    assert ("none", ()) == (found.name, found.missing)


def test_strict_without_bubblewrap_says_how_to_get_it(monkeypatch):
    """The daemon does not start, and the error says what to install and what else can be done."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StartError) as error:
        detect("strict")
    assert (
        "isolation is strict, but bubblewrap is not installed (apt-get install bubblewrap)."
        " Or set ASH_ISOLATION=best-effort." == str(error.value)
    )


def test_best_effort_without_bubblewrap_says_what_is_missing(monkeypatch):
    """The daemon starts with no isolation and can say why."""
    monkeypatch.setenv("PATH", "/nowhere")
    found = detect("best-effort")
    assert ("none", (module.NOT_INSTALLED,)) == (found.name, found.missing)


def test_best_effort_with_an_older_bubblewrap(bwrap):
    """What bubblewrap says against the attempt is passed on."""
    bwrap("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1")
    found = detect("best-effort")
    said = "bubblewrap does not work here: bwrap: Unknown option --disable-userns"
    assert ("none", (said,)) == (found.name, found.missing)


def test_best_effort_with_a_bubblewrap_that_hangs(bwrap, monkeypatch):
    """A start that never ends does not hang the daemon's."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    bwrap("exec /bin/sleep 1000")
    assert ("bubblewrap does not answer",) == detect("best-effort").missing


def test_probe_of_one_that_was_killed_is_removed(tmp_path, monkeypatch):
    """Its folder lies where nobody cleans; one that may be in use stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("ash-probe-old", "ash-probe-new", "other"):
        (tmp_path / name / "workspace").mkdir(parents=True)
    for name in ("ash-probe-old", "other"):
        os.utime(tmp_path / name, (1e9, 1e9))
    detect("best-effort")
    assert ["ash-probe-new", "other"] == sorted(path.name for path in tmp_path.iterdir())


def test_best_effort_where_namespaces_are_forbidden(isolation, host_paths):
    """In a container that forbids them, such as a sandbox of our own, there is no isolation."""
    done = run(isolation, host_paths, [sys.executable, "-c", DETECT.format("best-effort")], INSIDE)
    name, why = done.stdout.splitlines()
    assert "none" == name
    assert why.startswith("bubblewrap does not work here: ")


def test_strict_where_namespaces_are_forbidden(isolation, host_paths):
    """There, a daemon that is to be strict does not start."""
    done = run(isolation, host_paths, [sys.executable, "-c", DETECT.format("strict")], INSIDE)
    assert "StartError: isolation is strict, but bubblewrap does not work here" in done.stderr


def test_best_effort_of_a_root_that_may_not_all():
    """Where root can't make users for sandboxes, they are apart from all but root's user."""
    prefix = LESS_ROOT if os.geteuid() == 0 else []
    name, *missing = python(DETECT.format("best-effort"), uid=os.geteuid(), prefix=prefix).split(
        "\n"
    )
    assert "bubblewrap" == name
    assert (os.geteuid() == 0) == any("no host user of its own: " in what for what in missing)


def test_strict_needs_the_filter(monkeypatch):
    """Where system calls can't be filtered, strict isolation can't be had."""
    monkeypatch.setattr(seccomp, "build", lambda: None)
    with pytest.raises(StartError, match="but system calls are not filtered on "):
        detect("strict")


def test_strict_needs_a_bridge_that_can_be_read(monkeypatch):
    """A bridge that can't be started by whoever is in a sandbox is noticed at the start."""
    monkeypatch.setattr(root, "_library", lambda: iter(()))
    with pytest.raises(StartError, match="No module named 'bridge'"):
        detect("strict")


def test_detect_leaves_nothing(tmp_path, monkeypatch):
    """No folder, no descriptor and no host user is kept from the attempt."""
    users = Uids(count=2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = descriptors()
    detect("strict", users=users)
    assert (before, []) == (descriptors(), list(tmp_path.iterdir()))
    assert users.root + 1 == users.take(0)
