"""The seccomp filter, which refuses the system calls that an agent never needs.

Namespaces limit what a process sees; the filter limits which parts of the kernel it can use at
all. Most holes in Linux were found in the parts that are refused here. The filter is a program for
the kernel's classic BPF (linux/seccomp.h, linux/filter.h), and is built without a library.
"""

import errno
import platform
import struct
from collections.abc import Mapping

# AUDIT_ARCH_… in linux/audit.h: the ABI that a call was made by.
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

# A call's numbers on these two architectures; None where it does not exist.
Numbers = tuple[int | None, int | None]

# The last call that may pass, of Linux 6.17; new calls have the same number on both architectures.
# Calls with higher numbers get ENOSYS, as from an older kernel. That includes `file_setattr`, the
# next one, which does what FS_IOC_FSSETXATTR does (see _ROOM), and x32, the second ABI of x86_64
# kernels, whose numbers have bit 30 set.
LAST = 468

# Calls that are answered with EPERM: the program is told that it may not.
FORBIDDEN: Mapping[str, Numbers] = {
    # Mounts are part of the isolation.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # Enters other namespaces. Making new ones is refused by arguments of `clone` and `unshare`.
    "setns": (308, 268),
    # Opens files by number, without the permission checks of the folders on their path.
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # Look into other processes. The kernel's code for them is old, intricate and was often broken.
    # The debuggers of most languages do without them.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # Load another kernel, or code into this one.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    # Change the machine as a whole: power, swap, clock, name, log, accounts, terminals, ports.
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    # Watch files of the whole machine.
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
}

# Calls that are answered with ENOSYS, as by a kernel that lacks them. Programs then use others.
ABSENT: Mapping[str, Numbers] = {
    # Its flags are in memory, which a filter can't read. The C library falls back to `clone`.
    "clone3": (435, 435),
    # Loads programs into the kernel.
    "bpf": (321, 280),
    # Makes most other calls without passing this filter.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Can pause the kernel in the middle of a call, which most exploits of races need.
    "userfaultfd": (323, 282),
    # Reads the CPU's counters, which reveal what other processes compute.
    "perf_event_open": (298, 241),
    # The kernel's store of keys is not separated by namespaces.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Allocates memory that even the kernel can't see and the limits don't count.
    "memfd_secret": (447, 447),
    # Place memory in machines with several CPU sockets.
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # List the mounts, whose sources are folders of the host.
    "statmount": (457, 457),
    "listmount": (458, 458),
    # Obsolete calls, which are only attack surface.
    "modify_ldt": (154, None),
    "remap_file_pages": (216, 234),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
}

# The caller's own limits are those of process 0. By limits of others an agent could end the bridge.
_PRLIMIT: Numbers = (302, 261)
_CLONE: Numbers = (56, 220)
_UNSHARE: Numbers = (272, 97)
_SOCKET: Numbers = (41, 198)
_SOCKETPAIR: Numbers = (53, 199)
_IOCTL: Numbers = (16, 29)
_FALLOCATE: Numbers = (285, 47)
_FCNTL: Numbers = (72, 25)
_CLOSE_RANGE: Numbers = (436, 436)

# FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE, which it needs: this mode of `fallocate` gives
# room back. All others take room, a terabyte in a millisecond, before anybody could measure it.
_PUNCH_HOLE = 0x03

# CLONE_NEW… of linux/sched.h: cgroup, uts, ipc, user, pid, net, mount. In a new user namespace a
# process has all capabilities, and with them it can use most of the kernel.
_NAMESPACES = 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000
_NAMESPACES |= 0x2000_0000 | 0x4000_0000 | 0x0002_0000
# CLONE_NEWTIME of `unshare`. In `clone` this bit is part of the exit signal.
_TIME_NAMESPACE = 0x80

# CLONE_FILES and CLONE_THREAD. The disk sweep looks at the descriptors of a process once, so none
# of its threads may have others: neither from the start nor by `unshare` or CLOSE_RANGE_UNSHARE.
_SAME_FILES, _THREAD, _OWN_FILES = 0x400, 0x1_0000, 0x02

# TIOCSTI types into a terminal that others read; TIOCLINUX does so through the clipboard. TIOCSETD
# loads line disciplines for old modems and buses, whose code has holes.
_TERMINAL = (0x5412, 0x541C, 0x5423)
# FS_IOC_RESVSP, FS_IOC_RESVSP64 and FS_IOC_ZERO_RANGE are `fallocate` by older names.
# FS_IOC_FSSETXATTR sets how much of the disk XFS gives a file at its first byte.
_ROOM = (0x4030_5828, 0x4030_582A, 0x4030_5839, 0x401C_5820)

# F_SETLEASE and F_NOTIFY of linux/fcntl.h. A lease keeps others from opening a file for up to a
# minute, the daemon that copies it, too.
_LEASES = (1024, 1026)

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
# SOCK_STREAM, SOCK_DGRAM, SOCK_RAW and SOCK_SEQPACKET; the bits above are flags of the descriptor.
_STREAM, _DATAGRAM, _RAW, _PACKETS = 1, 2, 3, 5
_TYPE = 0xF
# The types of each family. Another one may load a kernel module, DCCP for example.
_TYPES = {
    _AF_UNIX: (_STREAM, _DATAGRAM, _PACKETS),
    _AF_INET: (_STREAM, _DATAGRAM),
    _AF_INET6: (_STREAM, _DATAGRAM),
    _AF_NETLINK: (_RAW, _DATAGRAM),
}
# The default of a socket's type, TCP and UDP. Asking for another one may load a kernel module.
_PROTOCOLS = (0, 6, 17)
# Lists the addresses of one's own interfaces, which libraries do before they resolve a name.
_NETLINK_ROUTE = (0,)

# linux/bpf_common.h: load a word, compare and jump, end, keep some bits.
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_AND = 0x54

# linux/seccomp.h: offsets in the data of a call, and the possible verdicts.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_KILL_PROCESS, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000

# Code, number of instructions to skip if true, number to skip if false, operand.
Instruction = tuple[int, int, int, int]


def build(machine: str | None = None) -> bytes | None:
    """The filter in bubblewrap's format, or None for an architecture that we have no numbers for.

    `machine` is the name from `uname -m`; by default it is this machine.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return None
    column = list(_ARCHITECTURES).index(machine)
    program = _program(_ARCHITECTURES[machine], column)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _program(architecture: int, column: int) -> list[Instruction]:
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        # 32-bit calls have other numbers, for which the rules below would be wrong.
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, LAST),
        _refuse(errno.ENOSYS),
    ]
    for calls, error in ((FORBIDDEN, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in calls.values():
            program += _on(numbers[column], [_refuse(error)])
    for numbers, rule in _BY_ARGUMENT:
        program += _on(numbers[column], rule)
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _on(number: int | None, rule: list[Instruction]) -> list[Instruction]:
    """The instructions that apply the rule to calls with that number."""
    return [] if number is None else [(_EQUAL, 0, len(rule), number), *rule]


def _refuse(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)


def _argument(index: int) -> Instruction:
    """Loads an argument's lower half; of the arguments checked here the kernel uses only that."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _without_bits(index: int, bits: int) -> list[Instruction]:
    allow = (_RETURN, 0, 0, _ALLOW)
    return [_argument(index), (_ANY_BIT, 0, 1, bits), _refuse(errno.EPERM), allow]


def _without_values(index: int, values: tuple[int, ...]) -> list[Instruction]:
    allow = (_RETURN, 0, 0, _ALLOW)
    return [_argument(index), *_one_of(values, _refuse(errno.EPERM)), allow]


def _only_value(index: int, value: int, error: int) -> list[Instruction]:
    return [_argument(index), (_EQUAL, 1, 0, value), _refuse(error), (_RETURN, 0, 0, _ALLOW)]


def _one_of(values: tuple[int, ...], verdict: Instruction) -> list[Instruction]:
    return [step for value in values for step in ((_EQUAL, 0, 1, value), verdict)]


def _clone() -> list[Instruction]:
    """Refuses new namespaces, and threads that don't share the descriptors of their process."""
    allow, refuse = (_RETURN, 0, 0, _ALLOW), _refuse(errno.EPERM)
    return [
        _argument(0),
        (_ANY_BIT, 0, 1, _NAMESPACES),
        refuse,
        (_ANY_BIT, 1, 0, _THREAD),
        allow,
        (_ANY_BIT, 1, 0, _SAME_FILES),
        refuse,
        allow,
    ]


def _sockets() -> list[Instruction]:
    """Allows sockets by family, type and protocol; rare ones have most of the unmended holes.

    Among the refused ones are raw packets, channels of the host (netlink, vsock) and the kernel's
    cryptography (AF_ALG).
    """
    allow = (_RETURN, 0, 0, _ALLOW)
    protocols = {_AF_INET: _PROTOCOLS, _AF_INET6: _PROTOCOLS, _AF_NETLINK: _NETLINK_ROUTE}
    rule: list[Instruction] = []
    for family, types in _TYPES.items():
        checked = [allow]
        if family in protocols:
            refuse = _refuse(errno.EPROTONOSUPPORT)
            checked = [_argument(2), *_one_of(protocols[family], allow), refuse]
        rule += [_argument(0), *_on(family, _of_types(types, checked))]
    return [*rule, _refuse(errno.EAFNOSUPPORT)]


def _of_types(types: tuple[int, ...], checked: list[Instruction]) -> list[Instruction]:
    """Goes on with `checked` for sockets of these types, and refuses the others."""
    masked: list[Instruction] = [_argument(1), (_AND, 0, 0, _TYPE)]
    # Each comparison skips those after it, and the refusal.
    left = range(len(types), 0, -1)
    found = [(_EQUAL, after, 0, kind) for kind, after in zip(types, left, strict=True)]
    return [*masked, *found, _refuse(errno.ESOCKTNOSUPPORT), *checked]


_BY_ARGUMENT: list[tuple[Numbers, list[Instruction]]] = [
    (_PRLIMIT, _only_value(0, 0, errno.EPERM)),
    (_CLONE, _clone()),
    (_UNSHARE, _without_bits(0, _NAMESPACES | _TIME_NAMESPACE | _SAME_FILES)),
    (_CLOSE_RANGE, _without_bits(2, _OWN_FILES)),
    (_IOCTL, _without_values(1, _TERMINAL + _ROOM)),
    (_FCNTL, _without_values(1, _LEASES)),
    (_SOCKET, _sockets()),
    (_SOCKETPAIR, _sockets()),
    # The answer of a file system that can't do it: `posix_fallocate` then writes zeros instead.
    (_FALLOCATE, _only_value(1, _PUNCH_HOLE, errno.EOPNOTSUPP)),
]
