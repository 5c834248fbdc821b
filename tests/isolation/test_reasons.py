import pytest

from ash.isolation.detect import explain

REFUSED = "bwrap: setting up uid map: Permission denied"


@pytest.fixture
def machine(tmp_path):
    """A root with switches of the kernel, by name."""

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
    """A switch that forbids namespaces is named, with what bubblewrap has said."""
    said = explain(REFUSED, machine(**{switch: value}))
    assert hint in said
    assert said.endswith(f"({REFUSED})")


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_reason_is_a_container(machine, mark):
    """In a container the reason is how that was started."""
    root = machine(user__max_user_namespaces=1000)
    (root / mark).parent.mkdir(exist_ok=True)
    (root / mark).touch()
    assert "start it with --security-opt seccomp=unconfined" in explain(REFUSED, root)


def test_reason_is_unknown(machine):
    """Without a hint, what bubblewrap has said last is the reason."""
    said = f"bwrap: a warning\n{REFUSED}\n"
    assert f"bubblewrap does not work here: {REFUSED}" == explain(said, machine())


def test_reason_is_another_one(machine):
    """A switch is not blamed for what has nothing to do with it."""
    root = machine(user__max_user_namespaces=0)
    said = "bwrap: execvp python: No such file or directory"
    assert f"bubblewrap does not work here: {said}" == explain(said, root)


def test_reason_is_silent(machine):
    """One that ends without a word is told as such."""
    assert "bubblewrap does not work here: it says nothing" == explain("", machine())
