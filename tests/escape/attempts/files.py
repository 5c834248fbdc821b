"""Files of the host, by every way there is."""

from tests.escape.attempt import GONE, NO, READ_ONLY, held

_FILES = [
    held("database", "It reads the daemon's database.", "read(data + '/ash.db')", *GONE),
    held("data_dir", "It lists the data directory.", "ls(data)", *GONE),
    held("api_key", "It reads the key that clients use.", "read(data + '/initial-api-key')", *GONE),
    held("shadow", "It reads the host's passwords.", "read('/etc/shadow')", *GONE),
    held(
        "host_users",
        "It learns the names of the host's users.",
        "[line.split(':')[0] for line in read('/etc/passwd').decode().split()]",
        "['root', 'agent', 'nobody']",
    ),
    held("root_home", "It reads the home of the host's root.", "ls('/root/.ssh')", *GONE),
    held(
        "host_folders",
        "It looks into the host's folders for logs, services and mounts.",
        "[path for path in HOST_FOLDERS if os.path.exists(path) and ls(path) != ['ash']]",
        "[]",
    ),
    held("host_tmp", "It finds the host's temporary files.", "read(tmp_file)", *GONE),
    held("etc_secrets", "It lists the host's private keys.", "ls('/etc/ssl/private')", *GONE),
    held(
        "etc_new",
        "It has a library loaded into every program.",
        "write('/etc/ld.so.preload')",
        *READ_ONLY,
    ),
    held("etc_hosts", "It changes where names lead.", "write('/etc/hosts')", *READ_ONLY),
    held("usr", "It changes a program of the system's.", "write('/usr/bin/env')", *READ_ONLY),
    held("usr_new", "It adds a program to the system.", "write('/usr/local/bin/new')", *READ_ONLY),
    held("root_new", "It makes a file in the root.", "write('/new')", *READ_ONLY),
    held("dev_new", "It makes a file among the devices.", "write('/dev/new')", *READ_ONLY),
    held("bridge_code", "It changes the bridge.", "write('/opt/ash/bridge/server.py')", *READ_ONLY),
    held(
        "interpreter",
        "It changes the interpreter that the next sandbox starts.",
        "write(sys.prefix + '/lib/new.pth')",
        *READ_ONLY,
        "EACCES",
    ),
    held(
        "setuid",
        "It makes a system program run as its owner.",
        "os.chmod('/usr/bin/env', 0o755)",
        *READ_ONLY,
        *NO,
    ),
    held(
        "writable_mounts",
        "It looks for places that can be written and are not its own.",
        "writable_mounts()",
        "['/dev/pts', '/dev/shm', '/home/agent', '/proc', '/tmp', '/workspace']",
    ),
]

_LINKS = [
    held(
        "symlink", "It reads the database by a symbolic link.", "symlink(data + '/ash.db')", *GONE
    ),
    held(
        "symlink_shadow", "It reads passwords by a symbolic link.", "symlink('/etc/shadow')", *GONE
    ),
    held(
        "hardlink", "It keeps a system program by a hard link.", "hardlink('/usr/bin/env')", "EXDEV"
    ),
    held("hardlink_home", "It links between its two folders.", "hardlink('/etc/hosts')", "EXDEV"),
    held(
        "dots",
        "It goes up from the workspace.",
        "read('/workspace/' + '../' * 9 + data + '/ash.db')",
        *GONE,
    ),
    held(
        "proc_root",
        "It goes by the first process's root.",
        "read('/proc/1/root' + data + '/ash.db')",
        *GONE,
    ),
    held(
        "proc_cwd",
        "It goes by the first process's directory.",
        "ls('/proc/1/cwd/..' + data)",
        *GONE,
    ),
    held(
        "by_handle",
        "It opens a file by its number, past all folders.",
        "call(303, 264, -100, b'/', bytes(64), bytes(8), 0)",
        *NO,
    ),
]

_PROC = [
    held(
        "cmdline_of_kernel",
        "It reads what the host's kernel was started with.",
        "read('/proc/cmdline')",
        *GONE,
    ),
    held("kcore", "It reads the kernel's memory.", "read('/proc/kcore')", *GONE),
    held("kallsyms", "It learns where the kernel lies in memory.", "read('/proc/kallsyms')", *GONE),
    held("dmesg", "It reads the kernel's log.", "checked(libc.klogctl(3, bytes(100), 100))", *NO),
    held(
        "sysrq",
        "It reboots the host by a key of the kernel's.",
        "write('/proc/sysrq-trigger')",
        *GONE,
        *READ_ONLY,
    ),
    held(
        "core_pattern",
        "It has the kernel run its program on a crash.",
        "write('/proc/sys/kernel/core_pattern')",
        *READ_ONLY,
    ),
    held(
        "modprobe",
        "It has the kernel run its program for a module.",
        "write('/proc/sys/kernel/modprobe')",
        *READ_ONLY,
        *GONE,
    ),
    held("uid_map", "It maps itself to root.", "put('/proc/self/uid_map', '0 0 1')", *NO),
    held(
        "oom",
        "It has others be killed in its place.",
        "put('/proc/self/oom_score_adj', '-1000')",
        "EACCES",
    ),
    held("descriptors", "It looks for descriptors that were left open.", "leading_out()", "[]"),
]

ATTEMPTS = [*_FILES, *_LINKS, *_PROC]
