"""Looks at processes from outside."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
