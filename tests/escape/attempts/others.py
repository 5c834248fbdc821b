"""Whoever else there is: the daemon, the host, other sessions; and more power."""

from tests.escape.attempt import GONE, MISSING, NO, SHUT, held

_SIGNALS = [
    held("kill_daemon", "It ends the daemon.", "os.kill(daemon_pid, 0)", "ESRCH"),
    held(
        "kill_neighbour",
        "It ends a process of another session's.",
        "os.kill(victim_pid, 0)",
        "ESRCH",
    ),
    held("pidfd", "It takes hold of the daemon.", "call(434, 434, daemon_pid, 0)", "ESRCH"),
    held(
        "parent",
        "It takes hold of what started its sandbox.",
        "[line for line in read('/proc/1/status').decode().split('\\n') if 'PPid' in line]",
        "['PPid:\\t0']",
    ),
]

_PTRACE = [
    held("ptrace", "It steers the bridge, which is the first process.", "attach(1)", *NO),
    held("ptrace_daemon", "It steers the daemon.", "attach(daemon_pid)", *NO),
    held(
        "read_memory", "It reads the memory of the bridge.", "call(310, 270, 1, 0, 0, 0, 0, 0)", *NO
    ),
    held(
        "write_memory",
        "It writes to the memory of the bridge.",
        "call(311, 271, 1, 0, 0, 0, 0, 0)",
        *NO,
    ),
    held(
        "compare", "It compares what it and the bridge hold.", "call(312, 272, 1, 1, 0, 0, 0)", *NO
    ),
    held(
        "steal_descriptor",
        "It takes the bridge's socket.",
        "call(438, 438, call(434, 434, 1, 0), 3, 0)",
        *NO,
    ),
]

_TAKEOVER = [
    held("memory_file", "It changes the bridge's memory as a file.", "write('/proc/1/mem')", *SHUT),
    held(
        "thread_memory_file",
        "It does so by one of the bridge's threads.",
        "write('/proc/1/task/1/mem')",
        *SHUT,
    ),
    held("memory_map", "It learns where the bridge's code is.", "read('/proc/1/maps')", *SHUT),
    held("bridge_descriptors", "It lists what the bridge holds.", "ls('/proc/1/fd')", *SHUT),
    held("reopen", "It opens the bridge's log once more.", "write('/proc/1/fd/2')", *SHUT),
    held(
        "bridge_environment", "It reads how the bridge is set up.", "read('/proc/1/environ')", *SHUT
    ),
    held(
        "oom_score",
        "It has the kernel end the bridge first.",
        "put('/proc/1/oom_score_adj', '1000')",
        *SHUT,
    ),
    held(
        "limit_bridge",
        "It gives the bridge no CPU time.",
        "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))",
        *NO,
    ),
    held(
        "stop_bridge",
        "It stops the bridge.",
        "os.kill(1, signal.SIGSTOP) or time.sleep(0.1) or state(1) in 'RSD'",
        "True",
    ),
    held(
        "kill_bridge",
        "It kills the bridge.",
        "os.kill(1, signal.SIGKILL) or time.sleep(0.1) or state(1) in 'RSD'",
        "True",
    ),
]

_CAPABILITIES_AND_USERS = [
    held("capabilities", "It looks for a process that has a capability.", "capabilities()", "[]"),
    held("unprotected", "It looks for a process without the filter.", "unprotected()", "[]"),
    held(
        "setuid_mounts",
        "It looks for a mount where programs may change user.",
        "setuid_mounts()",
        "[]",
    ),
    held("setuid_root", "It becomes root.", "os.setuid(0)", *NO, "EINVAL"),
    held("setgroups", "It joins other groups.", "os.setgroups([0])", *NO),
    held("su", "It becomes root by a program.", "sh('su -c id </dev/null 2>/dev/null')", ""),
    held(
        "chown",
        "It gives a file to root.",
        "write('/workspace/own') and os.chown('/workspace/own', 0, 0)",
        *NO,
        "EINVAL",
    ),
    held(
        "mknod",
        "It makes a device for the host's disk.",
        "os.mknod('/workspace/disk', 0o60666, os.makedev(8, 0))",
        *NO,
    ),
    held(
        "user_namespace",
        "It becomes root in a namespace of its own.",
        "call(272, 97, 0x10000000)",
        *NO,
    ),
    held("user_namespace_clone", "It starts a child that is root.", "clone(0x10000000)", *NO),
    held(
        "user_namespace_clone3",
        "It does so by the newer call.",
        "call(435, 435, bytes(88), 88)",
        *MISSING,
    ),
    held("mount_namespace", "It makes a view of files of its own.", "call(272, 97, 0x20000)", *NO),
    held(
        "join",
        "It joins the first process's namespaces.",
        "call(308, 268, os.open('/proc/1/ns/mnt', 0), 0)",
        *SHUT,
    ),
]

_ENVIRONMENT_AND_PROCESSES = [
    held("environment", "It reads what the daemon was set up with.", "mentions(secrets)", "[]"),
    held(
        "processes",
        "It sees processes of the host's.",
        "len(processes()) < 60 and mentions([data])",
        "[]",
    ),
    held("host_name", "It learns the host's name.", "os.uname().nodename", "ash"),
]

_OTHER_SESSIONS = [
    held(
        "neighbour_files",
        "It reads another session's files.",
        "read(victim_workspace + '/secret.txt')",
        *GONE,
    ),
    held(
        "neighbour_tmp",
        "It reads another session's temporary files.",
        "read('/tmp/secret.txt')",
        *GONE,
    ),
    held(
        "neighbour_shm",
        "It reads memory that another session shares.",
        "read('/dev/shm/secret.txt')",
        *GONE,
    ),
    held(
        "neighbour_ipc",
        "It attaches to another session's memory.",
        "shared_memory(victim_key)",
        "ENOENT",
    ),
    held(
        "neighbour_home",
        "It finds another session's conversation.",
        "sh('ls -d /home/*')",
        "/home/agent",
    ),
]

ATTEMPTS = [
    *_SIGNALS,
    *_PTRACE,
    *_TAKEOVER,
    *_CAPABILITIES_AND_USERS,
    *_ENVIRONMENT_AND_PROCESSES,
    *_OTHER_SESSIONS,
]
