"""Why there is no isolation here, in words for who can change it."""

from pathlib import Path

_APPARMOR = (
    "AppArmor forbids it to make user namespaces: load a profile for bwrap that has the rule"
    " `userns,`, or run ashd as root"
)
_ROOT_ONLY = (
    "the kernel lets only root make user namespaces: set kernel.unprivileged_userns_clone=1, or"
    " run ashd as root"
)
_NONE_ALLOWED = "the kernel allows no user namespaces: set user.max_user_namespaces=10000"

# Switches of the kernel and of distributions, and the value with which they forbid it.
_SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", _APPARMOR),
    "kernel/unprivileged_userns_clone": ("0", _ROOT_ONLY),
    "user/max_user_namespaces": ("0", _NONE_ALLOWED),
}

_CONTAINER = (
    "this container allows it no namespaces: start it with --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
)


def explain(said: str, root: Path = Path("/")) -> str:
    """`said` is what the failed start has printed."""
    last = (said.strip().splitlines() or ["it says nothing"])[-1]
    hint = _hint(last, root)
    return f"bubblewrap does not work here: {f'{hint} ({last})' if hint else last}"


def _hint(last: str, root: Path) -> str | None:
    if "not permitted" not in last and "denied" not in last and "No space" not in last:
        return None
    for switch, (value, hint) in _SWITCHES.items():
        file = root / "proc/sys" / switch
        if file.exists() and file.read_text().strip() == value:
            return hint
    # Docker and Podman leave these.
    in_container = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()
    return _CONTAINER if in_container else None
