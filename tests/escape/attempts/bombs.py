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
        "fallocate",
        "It takes much of the disk at once, before anybody measures it.",
        "libc.fallocate(os.open(new_file(), os.O_RDWR), 0, 0, 1 << 20)",
        "-1",
    ),
    held(
        "preallocate",
        "It takes much of the disk at once, by an older name.",
        "reserve(0x4030_582A)",
        *NO,
    ),
    held(
        "tmp",
        "It makes a file in memory larger than /tmp.",
        "fill('/tmp', 600)",
        "EFBIG",
        "ENOSPC",
    ),
    held(
        "shm",
        "It fills the memory that is shared.",
        "fill('/dev/shm', 300)",
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
