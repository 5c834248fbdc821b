"""What a caller is told of a disk that takes no writes."""

import errno
import os

import pytest

from ash.errors import Unavailable
from ash.workspaces.disk_errors import RETRY_SECONDS
from ash.workspaces.files import delete_file, write_file
from ash.workspaces.safe_open import open_folder

FAILURES = [(errno.EROFS, "it is mounted read-only"), (errno.EIO, "it is broken")]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    fd = open_folder(tmp_path)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("number", "why"), FAILURES)
def test_write_that_the_disk_refuses_is_a_503(root, tmp_path, number, why):
    """The caller may try again later, and the old file stays."""

    def content():
        yield b"new"
        raise OSError(number, os.strerror(number))

    with pytest.raises(Unavailable, match=why) as refused:
        write_file(root, "file", content())
    assert str(RETRY_SECONDS) == refused.value.headers["Retry-After"]
    assert [(tmp_path / "file", b"old")] == [(p, p.read_bytes()) for p in tmp_path.iterdir()]


@pytest.mark.parametrize(("number", "why"), FAILURES)
def test_delete_that_the_disk_refuses_is_a_503(root, monkeypatch, number, why):
    """A file that can't be deleted is still there; that is the disk's fault."""

    def refuse(*args, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(Unavailable, match=why):
        delete_file(root, "file")
