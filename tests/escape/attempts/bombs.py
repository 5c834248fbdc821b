"""More of the machine than its share. What is taken is bounded, should nothing hold it."""

from tests.escape.attempt import NO, held

_MACHINE = [
    held("process_bomb", "It starts processes without end.", "start_processes(300)", "EAGAIN"),
    held("thread_bomb", "It starts threads without end.", "start_threads(300)", "RuntimeError"),
    held("file_bomb", "It opens files without end.", "open_files(5000)", "EMFILE"),
    held(
        "big_file",
        "It makes a file larger than its disk.",
        "os.truncate(new_file(), 1 << 40)",
        "EFBIG",
    ),
    held(
        "tmp",
        "It makes a file in memory larger than /tmp.",
        "os.posix_fallocate(os.open(new_file('/tmp'), os.O_RDWR), 0, 600 << 20)",
        "EFBIG",
        "ENOSPC",
    ),
    held(
        "shm",
        "It fills the memory that is shared.",
        "os.posix_fallocate(os.open(new_file('/dev/shm'), os.O_RDWR), 0, 300 << 20)",
        "EFBIG",
        "ENOSPC",
    ),
    held(
        "root_memory",
        "It fills the memory that the root is in.",
        "new_file('/run')",
        "EROFS",
        "EACCES",
    ),
    held(
        "core",
        "It leaves its memory on the disk when it dies.",
        "resource.getrlimit(resource.RLIMIT_CORE)",
        "(0, 0)",
    ),
    held("raise_limit", "It raises a limit.", "raise_limit(resource.RLIMIT_NOFILE)", *NO),
    held(
        "priority",
        "It goes before everyone else.",
        "os.setpriority(os.PRIO_PROCESS, 0, -20)",
        "EACCES",
        *NO,
    ),
    held(
        "realtime",
        "It takes the CPU for itself.",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        *NO,
    ),
    held(
        "cgroup",
        "It looks for its own limits, to change them.",
        "[path for path in CGROUPS if os.path.exists(path)]",
        "[]",
    ),
]

ATTEMPTS = _MACHINE
