"""Takes memory of the kernel, inside a sandbox, up to 200 MB, and says how much it got."""

# ruff: noqa: FBT003, PTH123, T201

import ctypes
import fcntl
import os
import socket
import sys
from contextlib import suppress
from itertools import count

MB = 1 << 20
MOST = 200 * MB
HUGE = 1 << 30
BLOCK = b"x" * 60_000

held = []


def enlarge(*sockets):
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HUGE)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HUGE)
    held.extend(sockets)


def fill(write, most=64 * MB):
    done = 0
    with suppress(BlockingIOError):
        while done < most:
            done += write(BLOCK)
    return done


def waiting(table):
    """The bytes that are queued in all sockets of this network."""
    with open(f"/proc/net/{table}") as lines:
        queues = [line.split()[4].split(":") for line in list(lines)[1:]]
    return sum(int(size, 16) for pair in queues for size in pair)


def tcp():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        one = socket.create_connection(listener.getsockname())
        enlarge(one, listener.accept()[0])
    one.setblocking(False)
    fill(one.send)
    return waiting("tcp")


def udp(family=socket.AF_INET, address="127.0.0.1", table="udp"):
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.bind((address, 0))
    one.connect(one.getsockname())
    enlarge(one)
    with suppress(OSError):
        for _ in range(200):
            one.send(BLOCK, socket.MSG_DONTWAIT)
    return waiting(table)


def udp6():
    return udp(socket.AF_INET6, "::1", "udp6")


total = 0


def added(more):
    global total  # noqa: PLW0603
    total += more
    return total


def unix():
    one, other = socket.socketpair()
    enlarge(one, other)
    one.setblocking(False)
    return added(fill(one.send))


def filled_pipe():
    ends = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, MB)
    os.set_blocking(ends[1], False)
    return ends, fill(lambda data: os.write(ends[1], data))


def pipe():
    ends, size = filled_pipe()
    held.extend(ends)
    return added(size)


def in_flight():
    """Pipes that are in no process, but in a message that nobody reads."""
    ends, size = filled_pipe()
    one, other = socket.socketpair()
    held.extend((one, other))
    socket.send_fds(one, [b"x"], ends)
    for end in ends:
        os.close(end)
    return added(size)


def messages():
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.msgget(0, 0o1600)
    if queue < 0:
        raise OSError(ctypes.get_errno(), "no queue")
    text = ctypes.create_string_buffer(b"\1".ljust(8, b"\0") + b"x" * 8000)
    size = 0
    while libc.msgsnd(queue, text, 8000, 0o4000) == 0:
        size += 8000
    return added(size)


def memory_file():
    held.append(os.memfd_create("x"))
    return added(os.write(held[-1], b"x" * (4 * MB)))


numbers = count()


def inodes():
    """An inode takes about 1 KB."""
    for _ in range(2000):
        os.close(os.open(f"/tmp/{next(numbers)}", os.O_CREAT))
    return added(2000 * 1024)


def main(bomb):
    got = 0
    with suppress(OSError):
        for _ in range(80 if bomb in {tcp, udp, udp6} else 20_000):
            if (got := bomb()) >= MOST:
                break
    print(f"holds {got // MB} MB")


main(globals()[sys.argv[1]])
