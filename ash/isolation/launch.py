"""Starts bubblewrap as an unprivileged host user; used when the daemon is root.

    launch.py UID ROOT SOURCES -- PROGRAM ARGUMENT…

1. Makes a user namespace that maps user 1000 to the host's UID and user 0 to the host's ROOT, and
   in which no further user namespaces can be made. Root can do this even where the kernel forbids
   it to other users.
2. Binds the folders and files that the sandbox will see to STAGE/0, STAGE/1 and so on, because UID
   can't reach them through the daemon's private folders. Their paths are in the descriptor SOURCES,
   separated by NULs. The binds are in a mount namespace of this process, so nobody else sees them.
3. Becomes UID for good, and replaces itself by bubblewrap, which joins the user namespace.
   bubblewrap must not run as root, since the kernel would then not kill its child when it dies.

It runs with `-I -S` and imports little, because every sandbox waits for it: importing pathlib
(which PTH wants) would double the time.
"""

# ruff: noqa: PTH102, PTH123

import ctypes
import os
import stat
import sys

# Exists everywhere, since bubblewrap itself needs it. Only this process sees what we mount there.
STAGE = "/tmp"  # noqa: S108 - nothing is written to it

# linux/mount.h and linux/sched.h
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
# linux/prctl.h and linux/securebits.h
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 0x4

AGENT = 1000
FAILED = 125

_libc = ctypes.CDLL(None, use_errno=True)


def main(uid: int, root: int, sources: int, argv: list[str]) -> None:
    paths = _read(sources)
    namespace = _user_namespace(uid, f"0 {root} 1\n{AGENT} {uid} 1\n")
    _stage(paths)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    program, *rest = argv
    # bubblewrap would leave the namespace's descriptor open for the program. It closes a descriptor
    # given as `--block-fd` after reading from it, and reading from a namespace fails at once.
    join = ["--userns", str(namespace), "--block-fd", str(namespace)]
    # An empty environment: Python has set variables, and the sandbox can read that of its first
    # process.
    os.execve(program, [program, *join, *rest], {})  # noqa: S606 - nothing for a shell


def _read(fd: int) -> list[str]:
    with open(fd, "rb") as file:
        return [os.fsdecode(path) for path in file.read().split(b"\0")]


def _user_namespace(owner: int, mapping: str) -> int:
    """Makes a user namespace that only `owner` may join, and returns its descriptor.

    A namespace needs a process to be made, and exists as long as a descriptor is open.
    """
    ready, report_ready = os.pipe()
    hold, end_hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end_hold)
        _hold_namespace(owner, report_ready, hold)
    os.close(report_ready)
    if not os.read(ready, 1):
        sys.exit(FAILED)
    _write(f"/proc/{child}/gid_map", mapping)
    _write(f"/proc/{child}/uid_map", mapping)
    namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    os.set_inheritable(namespace, True)  # noqa: FBT003 - it takes no keyword
    os.close(end_hold)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(hold)
    return namespace


def _hold_namespace(owner: int, report_ready: int, hold: int) -> None:
    """Makes the namespace in the child process, and waits until the parent has a descriptor."""
    try:
        # Becomes `owner`, so that the namespace is `owner`'s, but keeps the capabilities of root.
        _call(_libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "securebits")
        os.seteuid(owner)
        _call(_libc.unshare(CLONE_NEWUSER), "a user namespace can't be made")
        _write("/proc/sys/user/max_user_namespaces", "0")
        os.write(report_ready, b"1")
        os.read(hold, 1)
    except OSError as error:
        _say(error)
    finally:
        os._exit(0)


def _stage(paths: list[str]) -> None:
    _call(_libc.unshare(CLONE_NEWNS), "a mount namespace can't be made")
    _mount("none", "/", MS_REC | MS_SLAVE)
    # Opened before the mount, which hides whatever lies below STAGE.
    handles = [os.open(path, os.O_PATH) for path in paths]
    _mount("ash", STAGE, 0, "tmpfs", "mode=0711,size=1m")
    for number, handle in enumerate(handles):
        place = f"{STAGE}/{number}"
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT))
        _mount(f"/proc/self/fd/{handle}", place, MS_BIND | MS_REC)
        os.close(handle)


def _mount(source: str, target: str, flags: int, kind: str = "", options: str = "") -> None:
    words = [os.fsencode(word) for word in (source, target, kind)]
    _call(_libc.mount(*words, flags, os.fsencode(options)), f"{target} can't be mounted")


def _write(path: str, text: str) -> None:
    """Writes as UTF-8, which needs no import: in the namespace the library may be unreachable."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _call(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _say(error: OSError) -> None:
    print(f"ash: {error}", file=sys.stderr, flush=True)  # noqa: T201 - it is the session's log


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[5:])
    except OSError as error:
        _say(error)
        sys.exit(FAILED)
