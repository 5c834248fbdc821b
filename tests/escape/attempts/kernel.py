"""The kernel: mounts, devices, and the calls that an agent never needs."""

from tests.escape.attempt import GONE, MISSING, NO, held

_MOUNTS = [
    held("mount_tmpfs", "It mounts a file system.", "mount(b'.', b'no-such-kind')", *NO),
    held("remount", "It makes the system writable.", "mount(b'/usr', None, 0x1020)", *NO),
    held("mount_new", "It mounts by the newer calls.", "call(430, 430, b'tmpfs', 0)", *NO),
    held("mount_clone", "It takes a copy of a mount.", "call(428, 428, -100, b'/', 1)", *NO),
    held(
        "umount",
        "It uncovers what is below a mount.",
        "checked(libc.umount2(b'/proc/cmdline', 2))",
        *NO,
    ),
    held("chroot", "It changes its root to break out of it.", "os.chroot('/workspace')", *NO),
    held("pivot", "It swaps its root.", "call(155, 41, b'/workspace', b'/workspace')", *NO),
]

_DEVICES = [
    held("devices", "It looks for devices.", "special_files()", "[]"),
    held(
        "disk",
        "It reads the host's disk.",
        "[read(d) for d in ('/dev/vda', '/dev/sda', '/dev/nvme0n1')]",
        *GONE,
    ),
    held("memory_device", "It reads the host's memory.", "read('/dev/mem')", *GONE),
    held("kvm", "It starts a virtual machine.", "os.open('/dev/kvm', 2)", *GONE),
    held("fuse", "It serves a file system.", "os.open('/dev/fuse', 2)", *GONE),
    held("type", "It types into a terminal.", "ioctl_tty(0x5412)", *NO),
    held("line_discipline", "It loads a modem's driver.", "ioctl_tty(0x5423)", *NO),
]

_THE_KERNEL = [
    held(
        "bpf", "It loads a program into the kernel.", "call(321, 280, 0, bytes(128), 128)", *MISSING
    ),
    held("module", "It loads a module.", "call(175, 105, b'x', 1, b'')", *NO),
    held("kexec", "It starts another kernel.", "call(246, 104, 0, 0, 0, -1)", *NO),
    held("reboot", "It reboots the host.", "call(169, 142, 0, 0, 0, 0)", *NO),
    held("clock", "It sets the host's clock.", "call(227, 112, 0, 0)", *NO),
    held("hostname", "It changes the host's name.", "call(170, 161, 0, 1)", *NO),
    held(
        "io_uring",
        "It makes system calls past the filter.",
        "call(425, 425, 1, ctypes.create_string_buffer(120))",
        *MISSING,
    ),
    held("userfaultfd", "It stops the kernel in mid-work.", "call(323, 282, 0)", *MISSING),
    held(
        "perf",
        "It counts what others compute.",
        "call(298, 241, bytes(128), 0, -1, -1, 0)",
        *MISSING,
    ),
    held("keys", "It reads the kernel's keys.", "call(250, 219, 0, -3, 0)", *MISSING),
    held("future", "It uses a call that is newer than the filter.", "call(999, 999)", *MISSING),
    held("x32", "It calls by the second ABI.", "call(0x40000000 + 39, 999)", *MISSING),
    held(
        "i386",
        "It calls as 32-bit programs do.",
        "machine_code(INT_80) if X86 else 'there is none'",
        "SIGSYS",
        "SIGSEGV",
        "there is none",
    ),
]

_SOCKETS = [
    held(
        "packets",
        "It listens to all packets.",
        "open_socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "EAFNOSUPPORT",
    ),
    held(
        "raw",
        "It makes packets by hand.",
        "open_socket(socket.AF_INET, socket.SOCK_RAW, 255)",
        "ESOCKTNOSUPPORT",
    ),
    held(
        "icmp",
        "It sends pings.",
        "open_socket(socket.AF_INET, socket.SOCK_DGRAM, 1)",
        "EPROTONOSUPPORT",
    ),
    held(
        "netlink",
        "It asks the kernel about others' sockets.",
        "open_socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)",
        "EPROTONOSUPPORT",
    ),
    held(
        "vsock",
        "It talks to the hypervisor.",
        "open_socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "EAFNOSUPPORT",
    ),
    held(
        "alg",
        "It uses the kernel's cryptography.",
        "open_socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "EAFNOSUPPORT",
    ),
    held(
        "services",
        "It finds sockets of the host's services.",
        "[path for path in SERVICES if os.path.exists(path)]",
        "[]",
    ),
]

ATTEMPTS = [*_MOUNTS, *_DEVICES, *_THE_KERNEL, *_SOCKETS]
