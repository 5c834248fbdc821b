"""The lines of the CLI reach the daemon byte for byte."""

import msgspec
import pytest

from tests.support.bridge import RecordedCli

pytestmark = pytest.mark.cli

_PROMPTS = ("hello", "THINK: deep", "BASH: echo hi", "FAIL: 400", "BIG: 300", "BURST: 90")


def test_messages_are_the_lines_of_the_cli_byte_for_byte(start, tmp_path) -> None:
    """No message of any kind is changed or reordered."""
    cli = RecordedCli(tmp_path)
    with start(CLAUDE_CODE_EXECUTABLE=str(cli.path)) as bridge:
        bridge.open()
        raw = []
        for prompt in _PROMPTS:
            raw += bridge.turn(prompt, partial=True).raw
        bridge.ask("SLOW: 60 60", partial=True)
        bridge.interrupt()
        raw += bridge.finish().raw
    written = [line for line in cli.lines if _is_message(line)]
    assert len(raw) > 100
    assert written == raw


def _is_message(line: bytes) -> bool:
    """False for control messages, which are for the SDK only, and for what tells of our prompts."""
    message = msgspec.json.decode(line)
    ours = message["type"] in {"control_response", "command_lifecycle"}
    return not ours and message.get("sdk_host_only") is not True
