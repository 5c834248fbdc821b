"""Puts settings back that a session's agent has broken, before a new engine reads them. Blocks.

The CLI would drop such a file without a word, with all its deny rules and hooks. No process of the
session runs meanwhile, but its files are hostile: no link is followed out of the workspace.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ash.errors import BadRequest, Conflict, EngineFailed, NotFound
from ash.folder_check import SETTINGS_FILES, WHOLE_FILES, lost_files
from ash.workspaces.copy import remove_tree
from ash.workspaces.files import write_file
from ash.workspaces.mend import open_up, set_aside
from ash.workspaces.safe_open import FOLDER, open_beneath, open_folder

_FOLDER = ".claude"


def mend_settings(workspace: Path, source: Path) -> list[str]:
    """What was mended, each in a sentence. `source` is the agent's folder as it was deployed.

    A file that was deployed with such a fault stays as it is: only force can have done that, and
    its faults are told. Raises EngineFailed if a file can't be mended.
    """
    root = open_folder(workspace)
    try:
        return list(_mend(root, workspace, source))
    finally:
        os.close(root)


def _mend(root: int, workspace: Path, source: Path) -> Iterator[str]:
    with _refused_in_words(_FOLDER):
        if text := _mend_folder(root, workspace, source):
            yield text
    faults = _faults(root, workspace)
    deployed_so = lost_files(source) if faults else {}
    for path, why in faults.items():
        if path not in deployed_so:
            with _refused_in_words(path):
                yield f"{why}. {_replace(root, path, source)}"


def _mend_folder(root: int, workspace: Path, source: Path) -> str:
    """Makes sure that what the CLI sees below `.claude` is what is checked here."""
    try:
        fd = open_beneath(root, _FOLDER, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return ""  # The CLI finds nothing there either.
    except OSError:
        return _replace_folder(root, workspace, source)
    try:
        mode = os.fstat(fd).st_mode
        if mode & stat.S_IRWXU == stat.S_IRWXU:
            return ""
        open_up(fd, stat.S_IMODE(mode) | stat.S_IRWXU)
        return f"{_FOLDER} was closed to its owner and was opened again"
    finally:
        os.close(fd)


def _replace_folder(root: int, workspace: Path, source: Path) -> str:
    kept = set_aside(workspace / _FOLDER)
    try:
        for path in SETTINGS_FILES:
            _put_back(root, path, source)
    except BaseException:
        # The next start must find the fault again.
        remove_tree(workspace / _FOLDER)
        os.rename(kept, _FOLDER, src_dir_fd=root, dst_dir_fd=root)
        raise
    return (
        f"{_FOLDER} led out of the workspace by a link and was renamed to {kept};"
        " a new one has the deployed settings"
    )


def _faults(root: int, workspace: Path) -> dict[str, str]:
    lost = lost_files(workspace)
    found = {path: _out_of_reach(root, path) or str(lost.get(path, "")) for path in WHOLE_FILES}
    return {path: why for path, why in found.items() if why}


def _out_of_reach(root: int, path: str) -> str:
    """Why the CLI could not read what stands there, or why it can't be checked."""
    try:
        fd = open_beneath(root, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        return f"{path} leads out of the workspace by a link"
    try:
        mode = os.fstat(fd).st_mode
    finally:
        os.close(fd)
    if not stat.S_ISREG(mode):
        return f"{path} is not a file"
    return "" if mode & stat.S_IRUSR else f"{path} is closed to its owner"


def _replace(root: int, path: str, source: Path) -> str:
    folder, _, name = path.rpartition("/")
    parent = open_beneath(root, folder or ".", FOLDER)
    try:
        kept = set_aside(Path(f"/proc/self/fd/{parent}", name))
        try:
            there = _put_back(root, path, source)
        except BaseException:
            # The next start must find the fault again.
            os.rename(kept, name, src_dir_fd=parent, dst_dir_fd=parent)
            raise
    finally:
        os.close(parent)
    then = "the deployed one is in its place" if there else "the agent's folder has none"
    return f"It was renamed to {kept}; {then}"


def _put_back(root: int, path: str, source: Path) -> bool:
    """Whether it was deployed. That folder is our own, and its links stay inside."""
    deployed = source / path
    if not deployed.is_file():
        return False
    write_file(root, path, [deployed.read_bytes()], stat.S_IMODE(deployed.stat().st_mode) & 0o777)
    return True


@contextmanager
def _refused_in_words(path: str) -> Iterator[None]:
    try:
        yield
    except (BadRequest, Conflict, NotFound) as error:
        why = error.text
    except OSError as error:
        why = error.strerror or "unknown"
    else:
        return
    raise EngineFailed(
        f"{path} in the session's workspace can't be used by the CLI, and can't be mended ({why}):"
        " replace or delete it, and resume the session"
    )
