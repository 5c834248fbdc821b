"""The socket of a sandbox's proxy."""

import stat

import trio

from ash.egress import SOCKET_NAME, open_listener


async def test_listener_is_open_to_any_user_who_sees_its_folder(tmp_path):
    """Any user may connect, but neither list nor change the folder."""
    async with open_listener(tmp_path / "run"):
        assert 0o711 == stat.S_IMODE((tmp_path / "run").stat().st_mode)
        assert 0o666 == stat.S_IMODE((tmp_path / "run" / SOCKET_NAME).stat().st_mode)


async def test_listener_leaves_no_socket_behind(tmp_path):
    """The socket is removed at the end, and its folder is kept."""
    async with open_listener(tmp_path / "run"):
        pass
    assert [] == list((tmp_path / "run").iterdir())


async def test_listener_takes_the_place_of_one_that_was_left(tmp_path):
    """A socket left by a killed daemon is replaced."""
    (tmp_path / SOCKET_NAME).touch()
    async with open_listener(tmp_path) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, trio.aclose_forcefully, [listener])
        async with await trio.open_unix_socket(tmp_path / SOCKET_NAME) as stream:
            assert b"" == await stream.receive_some()
        nursery.cancel_scope.cancel()


async def test_listener_takes_a_path_longer_than_a_socket_may_have(tmp_path):
    """The folder's path may be longer than the 107 bytes of a socket's path."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    async with open_listener(folder):
        assert (folder / SOCKET_NAME).is_socket()
