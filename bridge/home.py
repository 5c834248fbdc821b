"""Mends what an agent has broken in its home, so that the CLI starts. All functions block.

The CLI ends at once if it can't read its configuration or write its transcripts. Then the session
could never be resumed. What can't be used is renamed, not removed, and the session says so.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from bridge.transcripts import config_folder, set_aside

# A larger file is not one that the CLI has written.
_LARGEST = 16 * 1024 * 1024


def mend() -> list[str]:
    """What was mended, each in a sentence. Raises OSError if that is not possible."""
    return [text for path in _folders() if (text := _mend_folder(path))] + [
        text for path in _settings() if (text := _mend_settings(path))
    ]


def _folders() -> Iterator[Path]:
    """Outer ones first: inner ones can be found only when these have been mended."""
    yield Path.home()
    yield config_folder()
    projects = config_folder() / "projects"
    yield projects
    if projects.is_dir():
        yield from (path for path in projects.iterdir() if path.is_dir())


def _settings() -> Iterator[Path]:
    config = config_folder()
    # The file is beside the folder `.claude`, but inside a folder that the environment names.
    beside = Path.home() if config == Path.home() / ".claude" else config
    yield beside / ".claude.json"
    yield config / "settings.json"


def _mend_folder(path: Path) -> str:
    """Empty if nothing was wrong, or if nothing is there: the CLI makes its own folders."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.is_symlink():
            return ""
        return f"{path} led nowhere and was renamed to {set_aside(path).name}"
    except OSError:
        return f"{path} could not be opened and was renamed to {set_aside(path).name}"
    if not stat.S_ISDIR(mode):
        return f"{path} was no folder and was renamed to {set_aside(path).name}"
    if mode & stat.S_IRWXU == stat.S_IRWXU:
        return ""
    path.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
    return f"{path} was closed to its owner and was opened again"


def _mend_settings(path: Path) -> str:
    try:
        why = _fault(path)
    except FileNotFoundError:
        if not path.is_symlink():
            return ""
        why = "leads nowhere"
    except OSError as error:
        why = f"can't be read ({error.strerror})"
    return why and f"{path} {why} and was renamed to {set_aside(path).name}"


def _fault(path: Path) -> str:
    """Why the CLI could not use these settings."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        return "is no file"
    if info.st_size > _LARGEST:
        return "is too large"
    if not info.st_mode & stat.S_IRUSR:
        path.chmod(0o600)
    try:
        found = json.loads(path.read_bytes().decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "is no valid JSON"
    return "" if isinstance(found, dict) else "is no JSON object"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
