"""openat2 where it is missing, forbidden or interrupted."""

import ctypes
import errno
import os

import pytest

from ash.workspaces import safe_open
from ash.workspaces.safe_open import open_beneath, open_folder
from tests.support.processes import open_descriptors


class Kernel:
    """Answers openat2 with these errors, one after the other, and then as the real one."""

    def __init__(self, errors):
        self.errors = list(errors)
        self.calls = 0
        self._real = safe_open._libc

    def syscall(self, *args):
        self.calls += 1
        if not self.errors:
            return self._real.syscall(*args)
        ctypes.set_errno(self.errors.pop(0))
        return -1


@pytest.fixture
def kernel(monkeypatch):
    def answering(*errors):
        kernel = Kernel(errors)
        monkeypatch.setattr(safe_open, "_libc", kernel)
        return kernel

    safe_open._kernel_resolves.cache_clear()
    yield answering
    safe_open._kernel_resolves.cache_clear()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "file").write_text("inside")
    fd = open_folder(tmp_path)
    yield fd
    os.close(fd)


def read(root):
    with os.fdopen(open_beneath(root, "file", os.O_RDONLY)) as file:
        return file.read()


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.E2BIG])
def test_kernel_without_openat2_is_asked_once(kernel, root, error):
    """Old kernels lack it and some containers forbid it: files are opened step by step then."""
    kernel = kernel(*[error] * 10)
    assert ["inside", "inside"] == [read(root), read(root)]
    assert 1 == kernel.calls


def test_probe_leaves_no_descriptor_open(kernel):
    """Whatever its answer is."""
    for errors in ([], [errno.ENOSYS]):
        kernel(*errors)
        safe_open._kernel_resolves.cache_clear()
        before = open_descriptors()
        assert (not errors) == safe_open._kernel_resolves()
        assert before == open_descriptors()


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EINTR])
def test_openat2_that_was_disturbed_is_tried_again(kernel, root, error):
    """A rename elsewhere on the machine, or a signal, fails no request."""
    read(root)
    kernel = kernel(error, error, error)
    assert ("inside", 4) == (read(root), kernel.calls)


def test_openat2_that_is_disturbed_for_ever_is_given_up(kernel, root):
    """An agent that renames all the time holds no thread for ever."""
    read(root)
    kernel = kernel(*[errno.EAGAIN] * 1000)
    with pytest.raises(BlockingIOError):
        read(root)
    assert 100 == kernel.calls


def test_openat2_that_fails_is_not_tried_again(kernel, root):
    """The first error that is one is told."""
    read(root)
    kernel = kernel(errno.EACCES, errno.EACCES)
    with pytest.raises(PermissionError):
        read(root)
    assert 1 == kernel.calls
