"""Copies folders without ever following a link out of them. All of it blocks: use a thread."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ash.errors import BadRequest


def copy_tree(source: Path, target: Path) -> None:
    """Copies files, folders and links that stay inside; `target` must not exist.

    Raises BadRequest, and leaves nothing, for a link that leads out and for what is neither
    file, folder nor link.
    """
    _check(source)
    try:
        shutil.copytree(source, target, symlinks=True)
    except OSError:
        remove_tree(target)
        raise


def remove_tree(folder: Path) -> None:
    """Removes the folder if it is there. Links in it are removed, not followed."""
    shutil.rmtree(folder, ignore_errors=True)


def _check(source: Path) -> None:
    root = source.resolve()
    for entry in _walk(root):
        name = os.path.relpath(entry.path, root)
        if entry.is_symlink():
            if not Path(entry.path).resolve().is_relative_to(root) or _is_absolute(entry):
                raise BadRequest(f'The link "{name}" leads out of the folder')
        elif not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            raise BadRequest(f'"{name}" is neither a file nor a folder')


def _is_absolute(entry: os.DirEntry[str]) -> bool:
    """A link that names its target from the root means another place in a sandbox."""
    return Path(entry.path).readlink().is_absolute()


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
