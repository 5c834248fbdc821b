"""Runs in the sandbox as a tool of the agent's: makes each attempt and notes what came of it.

An attempt is a Python expression. Its outcome is the name of the errno that it was refused with,
else what it returned, as text. Each has a process of its own and SECONDS. What would do harm if
it were not refused goes just as far as to be refused or not.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SECONDS = 10
SHOWN = 2000

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"

# mov eax, 20 (getpid); int 0x80; ret
INT_80 = b"\xb8\x14\0\0\0\xcd\x80\xc3"

HARMLESS = {"full", "null", "random", "tty", "urandom", "zero"}

HOST_FOLDERS = ["/boot", "/media", "/mnt", "/run", "/srv", "/sys", "/var"]

CGROUPS = ["/sys/fs/cgroup", "/proc/self/root/sys/fs/cgroup", "/cgroup"]

KEY_BEGINS = "sk-ant-"

PROXY = ("127.0.0.1", 3128)

SERVICES = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/snapd.socket",
]


def read(path):
    return Path(path).read_bytes()[:SHOWN]


def ls(path):
    return sorted(entry.name for entry in Path(path).iterdir())


def write(path):
    """Opens for writing what is there, or makes it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    return "opened"


def put(path, text):
    """Writes to one of the kernel's own files."""
    fd = os.open(path, os.O_WRONLY)
    return os.write(fd, text.encode())


def sh(command):
    """What it printed; its errors too."""
    ran = subprocess.run(
        ["/bin/bash", "-c", command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return (ran.stdout + ran.stderr).strip()


def call(x86, arm, *arguments):
    """A system call by its number."""
    words = [a if isinstance(a, bytes | ctypes.Array) else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(x86 if X86 else arm), *words)
    return checked(result)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def symlink(target):
    """Reads by way of a link in the workspace."""
    link = Path(f"link-{os.getpid()}")
    link.symlink_to(target)
    return read(link)


def hardlink(target):
    os.link(target, f"/workspace/hard-{os.getpid()}", follow_symlinks=False)
    return "linked"


def mount(target, kind, flags=0):
    return checked(libc.mount(b"none", target, kind, flags, None))


def clone(flags):
    """A child in namespaces of its own."""
    pid = call(56, 220, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


def attach(pid):
    """PTRACE_SEIZE, which does not stop whom it gets."""
    return checked(libc.ptrace(0x4206, pid, None, None))


def ioctl_tty(request):
    """On a terminal that is its own, where it would be allowed."""
    pid, terminal = os.forkpty()
    if pid:
        said = b""
        while True:
            try:
                said += os.read(terminal, 1000)
            except OSError:
                return said.decode().strip()
    try:
        fcntl.ioctl(0, request, b"x")
        os.write(1, b"done")
    except OSError as error:
        os.write(1, errno.errorcode[error.errno].encode())
    os._exit(0)


def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_long)(address)()


def processes():
    """Pid, command line and environment of everyone who can be seen."""
    seen = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            seen[folder.name] = [(folder / name).read_bytes() for name in ("cmdline", "environ")]
        except OSError:
            continue
    return seen


def mentions(words):
    """Which of the words any process is started or set up with."""
    everything = b"".join(part for parts in processes().values() for part in parts)
    return [word for word in words if word.encode() in everything]


def leading_out():
    """Descriptors, of anyone, by which a folder or file of the host's could be reached."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        harmless = (
            "/dev/",
            "/workspace",
            "/home/agent",
            "/tmp/",
            "pipe:",
            "socket:",
            "anon_inode:",
        )
        own = ("/proc/", "/opt/ash/", "/usr/", sys.prefix, sys.base_prefix, "/memfd:")
        if not target.startswith(harmless + own):
            found.append(target)
    return found


def state(pid):
    """R, S, T and so on: see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def capabilities():
    """Who has any, or could get any."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("Cap") and int(line.split()[1], 16):
                found.add(line.split()[0])
    return sorted(found)


def unprotected():
    """Processes that may gain privileges, or make any system call."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        text = status.read_text()
        if "NoNewPrivs:\t1" not in text or "Seccomp:\t2" not in text:
            found.append(status.parent.name)
    return found


def special_files():
    """Devices that are not among the harmless ones, nor terminals of its own."""
    others = [path for path in Path("/dev").iterdir() if path.name not in HARMLESS]
    modes = {path: path.stat(follow_symlinks=False).st_mode for path in others}
    return [str(path) for path, mode in modes.items() if stat.S_ISCHR(mode) or stat.S_ISBLK(mode)]


def mounts():
    """Where each mount is, and its options."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [(words[4], words[5].split(",")) for words in map(str.split, lines)]


def writable_mounts():
    """Where the mount itself allows to write; devices don't take it."""
    writable = {where for where, options in mounts() if "rw" in options}
    return sorted(writable - {f"/dev/{name}" for name in HARMLESS})


def setuid_mounts():
    """Where programs may run as another user."""
    return [where for where, options in mounts() if "nosuid" not in options]


def connect(family, kind, address, protocol=0):
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(3)
        sock.connect(address)
        return "connected"


def open_socket(family, kind, protocol=0):
    with socket.socket(family, kind, protocol):
        return "opened"


def tcp(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return connect(family, socket.SOCK_STREAM, (host, port))


def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", (host, port))


def resolve(name):
    try:
        return socket.getaddrinfo(name, 80)
    except socket.gaierror:
        return "no address"


def set_address(interface, address):
    """SIOCSIFADDR"""
    name = struct.pack(
        "16sHH4s8x", interface.encode(), socket.AF_INET, 0, socket.inet_aton(address)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return fcntl.ioctl(sock, 0x8916, name)


def tunnel(target):
    return status(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")


def fetch(url):
    return status(f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\n\r\n")


def status(request):
    """What the proxy answers: the code."""
    with socket.create_connection(PROXY, SECONDS) as sock:
        sock.sendall(request.encode())
        return re.match(rb"HTTP/1.1 (\d+)", sock.recv(SHOWN))[1].decode()


def shared_memory(key):
    """The SysV segment that another session has made."""
    return checked(libc.shmget(key, 0, 0o600))


def start_processes(most):
    """How many there could be at a time."""
    children = []
    try:
        for _ in range(most):
            if not (child := os.fork()):
                time.sleep(SECONDS)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return len(children)


def start_threads(most):
    over = threading.Event()
    try:
        for _ in range(most):
            threading.Thread(target=over.wait, daemon=True).start()
    except RuntimeError:
        return "RuntimeError"
    finally:
        over.set()
    return most


def open_files(most):
    return len([os.open("/dev/null", os.O_RDONLY) for _ in range(most)])


def new_file(folder="."):
    descriptor, path = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    return path


def fill(folder, megabytes):
    """Writes so much to a file without a name, which takes nothing once this has ended."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    return megabytes


def reserve(request):
    """Asks for 600 MB by the ioctl `request`."""
    space = struct.pack("=hhqqiI16x", 0, 0, 0, 600 << 20, 0, 0)
    with Path(new_file()).open("r+b") as file:
        fcntl.ioctl(file, request, space)
        return os.fstat(file.fileno()).st_blocks


def raise_limit(which):
    _, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (hard + 1, hard + 1))
    except ValueError:
        return "EPERM"
    return hard + 1


def attempt(code, facts):
    try:
        return str(eval(code, globals(), facts))
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))


def run(code, facts):
    """In a process of its own: some end it."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            outcome = attempt(code, facts)
        except Exception as error:  # noqa: BLE001 - it is told to who reads the outcomes
            outcome = f"broken: {error!r}"
        os.write(sink, outcome.encode(errors="replace")[:SHOWN])
        os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as file:
        outcome = file.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return outcome


def main():
    order = json.loads(Path(sys.argv[1]).read_text())
    outcomes = {name: run(code, order["facts"]) for name, code in order["attempts"].items()}
    Path(sys.argv[2]).write_text(json.dumps(outcomes))
    sys.stdout.write(f"{len(outcomes)} attempts made\n")


main()
