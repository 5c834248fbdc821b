"""Values that clients of other servers send in another type than ours, and what they mean.

A form or a JavaScript object has `"PORT": 3000` as a number and `"timeout": "5000"` as a text. Both
are read only when a body has been refused for such a value, so a usual request costs nothing more.
"""

from typing import Any

import msgspec

# The places in a body, as msgspec names them in its errors.
# A larger body is not read again: the loop has no time for it.
_MENDED = 128 * 1024

_PLACES = (".env[...]`", ".extraEnv[...]`", "`$.timeout`")


def read_loosely(body: bytes | bytearray, error: msgspec.ValidationError) -> bytes | None:
    """The body with such values in the right type; None if it was refused for another reason."""
    if not str(error).endswith(_PLACES) or len(body) > _MENDED:
        return None
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the refusal came before the rest was read
    before = msgspec.json.encode(value)
    timeout = value.get("timeout")
    if isinstance(timeout, str) and timeout.isdecimal() and len(timeout) < 10:
        value["timeout"] = int(timeout)
    for each in (value, *_servers(value)):
        for name in ("env", "extraEnv"):
            if isinstance(variables := each.get(name), dict):
                each[name] = {key: _text(of) for key, of in variables.items()}
    mended = msgspec.json.encode(value)
    return None if mended == before else mended


def _servers(value: dict[str, Any]) -> list[dict[str, Any]]:
    servers = value.get("mcpServers")
    found = servers.values() if isinstance(servers, dict) else ()
    return [server for server in found if isinstance(server, dict)]


def _text(value: object) -> object:
    """A number or a boolean as JavaScript writes it; anything else as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value
