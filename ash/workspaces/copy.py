"""Copies and removes folders without following links out of them. Blocks: use a thread."""

import errno
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from ash.errors import BadRequest
from ash.file_names import spelled
from ash.log import get_logger
from ash.workspaces.disk_errors import disk_in_words

log = get_logger()


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder to `target`, which must not exist; its links must stay inside.

    Raises BadRequest, and leaves nothing, for a link that leads out and for anything that is not
    a file, folder or link.
    """
    target.mkdir()
    try:
        _check_kinds(source)
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_file, dirs_exist_ok=True)
        check_links(target)
    except BaseException as error:
        remove_tree(target)
        if isinstance(error, RecursionError) or getattr(error, "errno", 0) == errno.ENAMETOOLONG:
            raise BadRequest("Its folders are nested too deeply") from None
        raise


def _copy_file(source: str, target: str) -> None:
    """Copies a file; a full disk raises at once, where `copytree` would gather errors as text."""
    with disk_in_words():
        shutil.copy2(source, target)


def remove_tree(folder: Path) -> None:
    """Removes the folder if it exists. Links in it are removed, not followed.

    Uses `rm`, because an agent may nest folders deeper than Python's rmtree can go.
    """
    done = subprocess.run(["/bin/rm", "-rf", "--", str(folder)], capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").partition("\n")[0]
        log.warning("folder.remove_failed", path=str(folder), why=why)


def _check_kinds(source: Path) -> None:
    # Closed explicitly: a raised error would keep the generator and its open folder alive.
    with closing(_walk(source)) as entries:
        for entry in entries:
            if not (
                entry.is_symlink()
                or entry.is_dir(follow_symlinks=False)
                or entry.is_file(follow_symlinks=False)
            ):
                name = spelled(os.path.relpath(entry.path, source))
                raise BadRequest(f'"{name}" is neither a file nor a folder')


def check_links(copy: Path) -> None:
    """Checks the links in the copy, which nobody changes meanwhile.

    A link that names the source's own path, from the root or by `..`, leads out of the copy.
    """
    root = Path(os.path.realpath(copy))
    with closing(_walk(root)) as entries:
        for entry in entries:
            if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root):
                name = spelled(os.path.relpath(entry.path, root))
                raise BadRequest(
                    f'The link "{name}" leads out of the folder: put what it leads to into the'
                    " folder, or its name into .ashignore"
                )


def _walk(folder: Path) -> Generator[os.DirEntry[str]]:
    due = [folder]
    while due:
        with os.scandir(due.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    due.append(Path(entry.path))
