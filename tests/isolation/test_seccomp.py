"""The verdicts of the seccomp filter."""

import errno
import struct

import pytest

from ash.isolation import seccomp
from ash.isolation.seccomp import ABSENT, FORBIDDEN, LAST
from tests.isolation.conftest import output

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
ALLOWED, KILLED = "allowed", "killed"

# Each call with its numbers, as in seccomp.py, and its arguments.
SOCKET, CLONE, UNSHARE, IOCTL = (41, 198), (56, 220), (272, 97), (16, 29)
SOCKETPAIR = (53, 199)
READ, OPENAT, EXECVE, FUTEX = (0, 63), (257, 56), (59, 221), (202, 98)
FALLOCATE, FCNTL, CLOSE_RANGE = (285, 47), (72, 25), (436, 436)


def verdict(machine, number, *arguments, architecture=None):
    """The kernel's verdict, by a small interpreter for classic BPF."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, architecture or MACHINES[machine], 0, *words)
    program = list(struct.iter_unpack("=HBBI", seccomp.build(machine)))
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
                taken = 0
            case 0x15:
                taken = if_true if value == operand else if_false
            case 0x25:
                taken = if_true if value > operand else if_false
            case 0x45:
                taken = if_true if value & operand else if_false
            case 0x54:
                value &= operand
                taken = 0
            case 0x06:
                return _meaning(operand)
        at += 1 + taken


def _meaning(answer):
    if answer & 0xFFFF0000 == 0x00050000:
        return errno.errorcode[answer & 0xFFFF]
    return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}[answer]


@pytest.fixture(params=[0, 1], ids=list(MACHINES))
def column(request):
    return request.param


@pytest.fixture
def judged(column):
    """The verdict on a call given by its numbers."""
    machine = list(MACHINES)[column]
    return lambda numbers, *arguments: verdict(machine, numbers[column], *arguments)


def test_forbidden_calls_get_eperm(column):
    """Forbidden calls get EPERM on both architectures."""
    machine = list(MACHINES)[column]
    numbers = [numbers[column] for numbers in FORBIDDEN.values() if numbers[column] is not None]
    assert {"EPERM"} == {verdict(machine, number) for number in numbers}


def test_absent_calls_get_enosys(column):
    """Calls that programs can do without get ENOSYS."""
    machine = list(MACHINES)[column]
    numbers = [numbers[column] for numbers in ABSENT.values() if numbers[column] is not None]
    assert {"ENOSYS"} == {verdict(machine, number) for number in numbers}


@pytest.mark.parametrize("call", [READ, OPENAT, EXECVE, FUTEX])
def test_usual_calls_are_allowed(judged, call):
    """Calls that every program makes are allowed."""
    assert ALLOWED == judged(call)


def test_calls_of_later_kernels_are_unknown(judged):
    """Calls newer than the last known one get ENOSYS."""
    assert (ALLOWED, "ENOSYS") == (judged((LAST, LAST)), judged((LAST + 1, LAST + 1)))


@pytest.mark.parametrize("number", [0x40000000, 0x40000000 + 165, 0xFFFFFFFF])
def test_calls_by_x32_are_unknown(number):
    """Calls by x86_64's second ABI get ENOSYS."""
    assert "ENOSYS" == verdict("x86_64", number)


def test_calls_by_another_architecture_kill():
    """A call by another architecture's numbers kills the process."""
    assert KILLED == verdict("x86_64", 20, architecture=I386)
    assert KILLED == verdict("aarch64", 20, architecture=MACHINES["x86_64"])


def test_other_machines_have_no_filter():
    """There is no filter for a machine whose numbers are unknown."""
    assert None is seccomp.build("riscv64")


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_new_namespaces_are_forbidden(judged, bit):
    """Making any kind of namespace is forbidden, alone or with other flags."""
    assert "EPERM" == judged(CLONE, 1 << bit | 17)
    assert "EPERM" == judged(UNSHARE, 1 << bit)


def test_children_and_threads_are_allowed(judged):
    """Forks and threads are allowed."""
    assert ALLOWED == judged(CLONE, 0x01200011)
    assert ALLOWED == judged(CLONE, 0x003D0F00)


def test_time_namespace_is_distinguished_from_a_signal(judged):
    """The bit of a time namespace is allowed in `clone`, where it is part of a signal."""
    assert ("EPERM", ALLOWED) == (judged(UNSHARE, 0x80), judged(CLONE, 0x80))


@pytest.mark.parametrize(
    ("family", "protocol", "expected"),
    [
        (1, 0, ALLOWED),
        (2, 0, ALLOWED),
        (2, 6, ALLOWED),
        (2, 17, ALLOWED),
        (10, 6, ALLOWED),
        (16, 0, ALLOWED),
        (2, 1, "EPROTONOSUPPORT"),
        (2, 132, "EPROTONOSUPPORT"),
        (10, 255, "EPROTONOSUPPORT"),
        (16, 12, "EPROTONOSUPPORT"),
        (17, 0, "EAFNOSUPPORT"),
        (38, 0, "EAFNOSUPPORT"),
        (40, 0, "EAFNOSUPPORT"),
        (0, 0, "EAFNOSUPPORT"),
    ],
)
def test_sockets_by_family_and_protocol(judged, family, protocol, expected):
    """Unix, TCP, UDP and route sockets are allowed, and others are not."""
    assert expected == judged(SOCKET, family, 2, protocol)


@pytest.mark.parametrize("call", [SOCKET, SOCKETPAIR])
@pytest.mark.parametrize("flags", [0, 0x800, 0x80000, 0x80800])
@pytest.mark.parametrize(
    ("family", "allowed"), [(1, {1, 2, 5}), (2, {1, 2}), (10, {1, 2}), (16, {2, 3})]
)
def test_sockets_by_type(judged, call, family, allowed, flags):
    """Other types are refused: for SOCK_DCCP, 6, the kernel would load a module."""
    verdicts = {kind: judged(call, family, kind | flags, 0) for kind in range(16)}
    assert allowed == {kind for kind, said in verdicts.items() if said == ALLOWED}
    assert {ALLOWED, "ESOCKTNOSUPPORT"} == set(verdicts.values())


def test_protocol_is_checked_for_each_type(judged):
    """A known type does not let an unknown protocol pass."""
    assert "EPROTONOSUPPORT" == judged(SOCKET, 2, 1, 132)
    assert "EPROTONOSUPPORT" == judged(SOCKET, 16, 3, 4)


def test_kernel_refuses_odd_sockets(isolation, host_paths):
    """What programs use works, and what they don't use is unknown to them."""
    code = (
        "import errno, socket\n"
        "def tried(*kind):\n"
        "    try: return socket.socket(*kind).close()\n"
        "    except OSError as error: return errno.errorcode[error.errno]\n"
        "print([tried(*kind) for kind in "
        "[(1, 1), (1, 2), (1, 5), (2, 1), (2, 2), (16, 3), (2, 6), (10, 6), (2, 3, 6), (2, 5)]])"
    )
    refused = ["ESOCKTNOSUPPORT"] * 4
    assert str([None] * 6 + refused) == output(isolation, host_paths, f'exec $PYTHON -c "{code}"')


def test_limits_of_other_processes_are_not_set(judged):
    """A process sets its own limits; those of the bridge are not an agent's to lower."""
    prlimit = (302, 261)
    assert (ALLOWED, "EPERM") == (judged(prlimit, 0, 7), judged(prlimit, 1, 0))


@pytest.mark.parametrize("request_number", [0x5412, 0x541C, 0x5423])
def test_terminals_are_not_typed_into(judged, request_number):
    """Forbidden ioctls are refused also with high bits that the kernel ignores."""
    assert "EPERM" == judged(IOCTL, 0, request_number)
    assert "EPERM" == judged(IOCTL, 0, request_number | 1 << 32)
    assert ALLOWED == judged(IOCTL, 0, 0x5413)


@pytest.mark.parametrize("mode", [0x00, 0x01, 0x02, 0x08, 0x10, 0x11, 0x13, 0x20, 0x40])
def test_room_is_not_taken_at_once(judged, mode):
    """`fallocate` is answered as on a file system that lacks it, in each mode that takes room."""
    assert "ENOTSUP" == judged(FALLOCATE, 0, mode)


def test_room_may_be_given_back(judged):
    """Punching a hole is allowed."""
    assert ALLOWED == judged(FALLOCATE, 0, 0x03)


@pytest.mark.parametrize("request_number", [0x40305828, 0x4030582A, 0x40305839, 0x401C5820])
def test_room_is_not_taken_by_older_names(judged, request_number):
    """The ioctls that do what `fallocate` does, or that set what XFS gives at once, are refused."""
    assert "EPERM" == judged(IOCTL, 0, request_number)


def test_program_that_reserves_room_writes_it_instead(isolation, host_paths):
    """`posix_fallocate` works all the same: the C library writes zeros."""
    code = (
        "import os; fd = os.open('file', os.O_RDWR | os.O_CREAT)\n"
        "os.posix_fallocate(fd, 0, 100_000)\n"
        "print(os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512 >= 100_000)"
    )
    assert "100000 True" == output(isolation, host_paths, f'exec $PYTHON -c "{code}"')


def test_filter_holds_inside(isolation, host_paths):
    """This machine's kernel answers each call as the tables say."""
    column = list(MACHINES).index(seccomp.platform.machine())
    calls = {
        name: (numbers[column], expected)
        for table, expected in ((FORBIDDEN, errno.EPERM), (ABSENT, errno.ENOSYS))
        for name, numbers in table.items()
        if numbers[column] is not None
    }
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "def tried(number):\n"
        "    ctypes.set_errno(0)\n"
        "    return libc.syscall(number, -1, 0, 0, 0, 0, 0) and ctypes.get_errno()\n"
        f"print([n for n, (number, told) in {calls}.items() if tried(number) != told])"
    )
    assert "[]" == output(isolation, host_paths, f'exec $PYTHON -c "{code}"')


@pytest.mark.parametrize("command", [1024, 1026])
def test_leases_are_refused(judged, command):
    """An agent could keep the daemon from opening a file; locks and flags of files are allowed."""
    assert "EPERM" == judged(FCNTL, 3, command, 0)
    assert [ALLOWED] * 4 == [judged(FCNTL, 3, other) for other in (1, 3, 6, 1030)]


def test_thread_has_the_descriptors_of_its_process(judged):
    """What a thread alone holds open would not be measured. Usual threads are allowed."""
    thread, files, vfork = 0x1_0000, 0x400, 0x4100
    assert "EPERM" == judged(CLONE, thread)
    assert "EPERM" == judged(UNSHARE, files)
    assert "EPERM" == judged(CLOSE_RANGE, 3, 9, 0x02)
    assert [ALLOWED] * 3 == [judged(CLONE, flags) for flags in (17, vfork, thread | files)]
    assert ALLOWED == judged(CLOSE_RANGE, 3, 9, 0x04)
