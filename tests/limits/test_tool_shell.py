from pathlib import Path

import ash.limits

SHELL = Path(ash.limits.__file__).parent / "bin" / "bash"

# Each takes 12 MB: the engine has 20.
TOOL = "for i in 1 2 3 4 5 6 7 8 9; do head -c 12M /dev/zero | tail -c 12M >/dev/null & done; wait"


async def test_tool_shell_is_bash(group, run):
    """What the CLI asks of bash, it gets."""
    said, code = await run(group, f"{SHELL} -c 'echo \"$1 $BASH_VERSION\"; exit 3' bash 'a b'")
    assert ("a b", 3) == (said[:3], code)


async def test_tool_shell_goes_first_when_memory_is_full(group, run):
    """A tool's processes have the highest score there is, and hand it down."""
    assert ("1000\n", 0) == await run(group, f"{SHELL} -c 'cat /proc/self/oom_score_adj'")


async def test_many_small_processes_of_a_tool_die_before_their_engine(group, run):
    """The engine, larger than each of them, outlives a tool that takes all memory in pieces."""
    engine = f"big=$(head -c 20M /dev/zero | tr '\\0' x); {SHELL} -c '{TOOL}'; echo ${{#big}}"
    said, _ = await run(group, engine)
    assert f"{20 * 1024 * 1024}\n" == said
    assert "its memory limit" in group.take_limit_report()
