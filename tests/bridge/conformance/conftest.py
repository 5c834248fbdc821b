"""Runs the tests of this folder with each engine, through the real bridge process."""

from collections.abc import Iterator

import pytest

from tests.support.bridge import Bridge, start_bridge

_ENGINES = [
    "scripted",
    pytest.param("claude-agent", marks=pytest.mark.cli),
    pytest.param("claude-code", marks=pytest.mark.cli),
]


@pytest.fixture(scope="module", params=_ENGINES)
def engine(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def bridge(engine, model, tmp_path_factory) -> Iterator[Bridge]:
    """A bridge shared by all tests of a module; its conversation goes on from test to test."""
    folder = tmp_path_factory.mktemp(engine)
    with start_bridge(engine, folder, model.url) as bridge:
        yield bridge.open()
