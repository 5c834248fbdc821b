"""Which server a client talks to, and which key it sends."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ash.addresses import is_loopback
from ash.errors import ConfigError
from ash.shapes import Key

DEFAULT_SERVER = "http://localhost:4100"
KEY_FILE = "initial-api-key"


class ServerAddress(Struct, frozen=True):
    """`key_places` says in words where the key was looked for."""

    url: str
    key: str | None
    key_places: str

    @property
    def is_local(self) -> bool:
        return is_local(self.url)


def is_local(url: str) -> bool:
    """Whether the URL is one of this machine's loopback addresses."""
    return is_loopback(urlsplit(url).hostname or "")


def find_server(
    server: str | None,
    api_key: str | None,
    data_dir: Path | None,
    env: Mapping[str, str],
    given_by: str = "api_key",
) -> ServerAddress:
    """The server and its key: as given, else from the environment, else this machine's.

    The key file is read only for a server on this machine, so that its key is never sent to
    another. `given_by` names the option by which the user gives a key. Raises ConfigError for an
    invalid URL and for a key that no header can carry.
    """
    url = _as_url(server or env.get("ASH_SERVER_URL") or DEFAULT_SERVER)
    places = f"{given_by}, ASH_API_KEY"
    key = _as_key(api_key or env.get("ASH_API_KEY"), places)
    if is_local(url):
        path = data_folder(data_dir, env) / KEY_FILE
        places += f", {path}"
        key = key or _read_key(path)
    return ServerAddress(url, key, places)


def data_folder(data_dir: Path | None, env: Mapping[str, str]) -> Path:
    """The data directory that a daemon started here would use."""
    # Imported late: it imports parts of the server, which scripts for other machines don't need.
    from ash import config

    return config.load(config.find_toml(None, env, Path()), env, {"data_dir": data_dir}).data_dir


def _as_url(text: str) -> str:
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"the server must be an http:// or https:// URL, not {text!r}")
    return url


def _as_key(text: str | None, places: str) -> str | None:
    """The key without blanks and line ends around it. The error does not show it."""
    if not (key := (text or "").strip()):
        return None
    try:
        return msgspec.convert(key, Key)
    except msgspec.ValidationError:
        raise ConfigError(
            f"the key (from {places}) must be a text without control characters"
        ) from None


def _read_key(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
