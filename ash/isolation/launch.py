"""Runs before bubblewrap when the daemon is root, so that the sandbox is no host user's.

    launch.py UID ROOT SOURCES -- PROGRAM ARGUMENT…

1. Makes a user namespace in which 1000 is the host's UID and 0 the host's ROOT, and which allows
   no further ones. Root can do that where others may not make any.
2. Shows the folders and files that are to be bound, NUL-separated paths in the descriptor
   SOURCES, as STAGE/0, STAGE/1 and so on: UID can't go through the daemon's private folders.
   They are seen there by this process alone.
3. Becomes UID for good, and then bubblewrap, which is told to join the namespace. Were
   bubblewrap still root, what it has started could not be killed for its death.

It runs with `-I -S`, and imports as little as can be, since a sandbox waits for it: pathlib
alone (PTH) would double the time.
"""

# ruff: noqa: PTH102, PTH123

import ctypes
import os
import stat
import sys

# There is one everywhere, bubblewrap itself needs it. Hidden from this process alone.
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
    # What `--block-fd` names is read and closed inside; a namespace can't be read, so it only
    # closes what bubblewrap would leave open for the program.
    join = ["--userns", str(namespace), "--block-fd", str(namespace)]
    # The sandbox can see its first process's environment; this one's has what Python has put in.
    os.execve(program, [program, *join, *rest], {})  # noqa: S606 - nothing for a shell


def _read(fd: int) -> list[str]:
    with open(fd, "rb") as file:
        return [os.fsdecode(path) for path in file.read().split(b"\0")]


def _user_namespace(owner: int, mapping: str) -> int:
    """A namespace is born with a process, and lives on as long as a descriptor is open.

    Only `owner` may join it.
    """
    ready, say_ready = os.pipe()
    hold, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        _be_born(owner, say_ready, hold)
    os.close(say_ready)
    if not os.read(ready, 1):
        sys.exit(FAILED)
    _write(f"/proc/{child}/gid_map", mapping)
    _write(f"/proc/{child}/uid_map", mapping)
    namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    os.set_inheritable(namespace, True)  # noqa: FBT003 - it takes no keyword
    os.close(let_go)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(hold)
    return namespace


def _be_born(owner: int, say_ready: int, hold: int) -> None:
    """Ends when the parent lets go, or is gone."""
    try:
        # It keeps root's capabilities, which allow it to make one, and is `owner` all the same.
        _call(_libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "securebits")
        os.seteuid(owner)
        _call(_libc.unshare(CLONE_NEWUSER), "a user namespace can't be made")
        _write("/proc/sys/user/max_user_namespaces", "0")
        os.write(say_ready, b"1")
        os.read(hold, 1)
    except OSError as error:
        _say(error)
    finally:
        os._exit(0)


def _stage(paths: list[str]) -> None:
    _call(_libc.unshare(CLONE_NEWNS), "a mount namespace can't be made")
    _mount("none", "/", MS_REC | MS_SLAVE)
    # Opened first: what lies below STAGE is hidden by what comes there.
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
    """UTF-8 is loaded already: in the namespace there may be no way to the library any more."""
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
