"""Which server is spoken to, and which key it gets."""

import pytest

from ash.authentication import INITIAL_KEY_FILE
from ash.client.address import KEY_FILE, find_server
from ash.errors import ConfigError


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data directory with a key in it, in an otherwise empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "initial-api-key").write_text("from-file\n")
    return tmp_path / "data"


def test_find_server_by_flag_then_environment_then_default(data):
    """The flag wins over ASH_SERVER_URL, which wins over localhost:4100."""
    env = {"ASH_SERVER_URL": "http://env.example"}

    assert find_server("http://flag.example", None, None, env).url == "http://flag.example"
    assert find_server(None, None, None, env).url == "http://env.example"
    assert find_server(None, None, None, {}).url == "http://localhost:4100"


def test_find_key_by_flag_then_environment_then_file(data):
    """The flag wins over ASH_API_KEY, which wins over the local key file."""
    env = {"ASH_API_KEY": "from-env"}

    assert find_server(None, "from-flag", None, env).key == "from-flag"
    assert find_server(None, None, None, env).key == "from-env"
    assert find_server(None, None, None, {}).key == "from-file"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9"])
def test_find_key_file_for_a_local_server(data, url):
    """The key file is for servers on loopback."""
    assert find_server(url, None, None, {}).key == "from-file"


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:9", "https://ash.example", "http://localhost.evil.example"]
)
def test_find_key_file_for_another_machine(data, url):
    """The key of a local server is never sent elsewhere."""
    address = find_server(url, None, None, {})

    assert address.key is None
    assert "initial-api-key" not in address.key_places


def test_find_key_given_for_another_machine(data):
    """A key that was given goes wherever the user wants it."""
    assert find_server("https://ash.example", None, None, {"ASH_API_KEY": "k"}).key == "k"


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\r"])
def test_find_key_without_what_a_secret_store_adds(end):
    """A line end or blank around a key is no part of it."""
    assert "k" == find_server("https://ash.example", f" k{end}", None, {}).key
    assert "k" == find_server("https://ash.example", None, None, {"ASH_API_KEY": f"k{end}"}).key


def test_find_key_with_a_control_character():
    """No header can carry it. The error says where it came from, and nothing of it."""
    with pytest.raises(ConfigError) as caught:
        find_server("https://ash.example", "ses\name", None, {})

    expected = "the key (from api_key, ASH_API_KEY) must be a text without control characters"
    assert expected == str(caught.value)


def test_find_key_file_in_the_named_data_directory(data, tmp_path):
    """The flag wins over ASH_DATA_DIR, which wins over ash.toml, which wins over ./data."""
    for name in ("flag", "env", "toml"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "initial-api-key").write_text(name)
    (tmp_path / "ash.toml").write_text('data_dir = "toml"')
    env = {"ASH_DATA_DIR": str(tmp_path / "env")}

    assert find_server(None, None, tmp_path / "flag", env).key == "flag"
    assert find_server(None, None, None, env).key == "env"
    assert find_server(None, None, None, {}).key == "toml"


def test_find_without_any_key(tmp_path, monkeypatch):
    """No key is no error here; the places that were searched are told."""
    monkeypatch.chdir(tmp_path)

    address = find_server(None, None, None, {})

    assert address.key is None
    assert address.key_places == "api_key, ASH_API_KEY, data/initial-api-key"


@pytest.mark.parametrize(
    ("text", "url"),
    [("localhost:4100", "http://localhost:4100"), ("http://a.example/", "http://a.example")],
)
def test_find_url_as_people_write_it(tmp_path, monkeypatch, text, url):
    """A missing scheme and a slash at the end are forgiven."""
    monkeypatch.chdir(tmp_path)

    assert url == find_server(text, None, None, {}).url


@pytest.mark.parametrize("text", ["ftp://a.example", "http://", "http://a:port", "http://[::1"])
def test_find_not_a_url(tmp_path, monkeypatch, text):
    """What can't be a server's URL is an error that shows it."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match="must be an http:// or https:// URL"):
        find_server(text, None, None, {})


def test_key_file_is_the_daemons():
    """The key is looked for where the daemon writes it."""
    assert KEY_FILE == INITIAL_KEY_FILE
