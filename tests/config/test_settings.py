"""Where settings come from, and what is said when one does not fit."""

import pytest

from ash.addresses import is_loopback
from ash.config import OPTIONS, Settings, find_toml, load, unknown_environment
from ash.errors import ConfigError


@pytest.fixture
def toml(tmp_path):
    """Writes ash.toml and gives its path."""

    def write(text):
        path = tmp_path / "ash.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_load_without_any_source():
    """Nothing said gives the defaults: loopback, port 4100, the real engine."""
    settings = load(None, {}, {})

    assert Settings() == settings
    assert (settings.host, settings.port, settings.engine) == ("127.0.0.1", 4100, "claude-agent")


def test_load_flag_over_environment_over_file(toml):
    """A flag wins over the environment, which wins over the file."""
    path = toml('host = "file"\nport = 1\nengine = "scripted"\n')

    settings = load(path, {"ASH_HOST": "env", "ASH_PORT": "2"}, {"host": "flag"})

    assert (settings.host, settings.port, settings.engine) == ("flag", 2, "scripted")


def test_load_flag_not_given(toml):
    """A flag that is None leaves what the file says."""
    assert load(toml("port = 7"), {}, {"port": None}).port == 7


def test_load_empty_environment_variable():
    """An empty variable counts as not set."""
    assert load(None, {"ASH_API_KEY": "", "ASH_PORT": ""}, {}) == Settings()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_load_every_environment_variable(option):
    """Each option can be set by its variable."""
    texts = {bool: "true", int: "99", float: "7.5", tuple: "https://a.example,*"}
    url = "s3://x" if "s3://" in option.rule else "http://x"
    text = texts.get(type(option.default), url)
    if option.rule.startswith("one of "):
        text = option.rule.removeprefix("one of ").split(", ")[-1]

    settings = load(None, {option.env: text}, {})

    assert getattr(settings, option.field) != option.default


def test_load_text_that_looks_like_nothing():
    """A key that reads `null` is a key."""
    assert load(None, {"ASH_API_KEY": "null"}, {}).api_key == "null"


def test_load_list_from_environment():
    """A variable holds a list separated by commas, spaces aside."""
    env = {"ALLOWED_ORIGINS": "https://a.example, http://b.example:3000,"}

    assert load(None, env, {}).allowed_origins == ("https://a.example", "http://b.example:3000")


def test_load_list_from_file(toml):
    """The file holds a list as a TOML list."""
    assert load(toml('allowed_origins = ["*"]'), {}, {}).allowed_origins == ("*",)


def test_load_whole_number_as_duration(toml):
    """Durations may be whole numbers in the file."""
    assert load(toml("grace_seconds = 3"), {}, {}).grace_seconds == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('port = "80"', "port (from {path}) must be a whole number from 0 to 65535, not '80'"),
        ("port = true", "port (from {path}) must be a whole number from 0 to 65535, not True"),
        ("port = 70000", "port (from {path}) must be a whole number from 0 to 65535, not 70000"),
        ("max_sandboxes = 0", "max_sandboxes (from {path}) must be a whole number of 1 or more"),
        ("grace_seconds = nan", "grace_seconds (from {path}) must be a number from 0 to 86400"),
        ("grace_seconds = -1", "grace_seconds (from {path}) must be a number from 0 to 86400"),
        ('data_dir = ""', "data_dir (from {path}) must be a path, not ''"),
        ('host = ""', "host (from {path}) must be a text that is not empty, not ''"),
        ('engine = "gpt"', "engine (from {path}) must be one of claude-agent, claude-code, scr"),
        ('snapshot_url = "https://x"', "snapshot_url (from {path}) must be an s3:// or gs:// URL"),
        ('anthropic_base_url = "x"', "anthropic_base_url (from {path}) must be an http:// or"),
        ('allowed_origins = ["x"]', "allowed_origins (from {path}) must be a list, each an orig"),
        ("[port]", "port (from {path}) must be a whole number from 0 to 65535, not {{}}"),
    ],
)
def test_load_value_that_does_not_fit(toml, text, message):
    """The error names the key, where its value is from and the rule."""
    path = toml(text)

    with pytest.raises(ConfigError) as caught:
        load(path, {}, {})

    assert str(caught.value).startswith(message.format(path=path))


@pytest.mark.parametrize(
    ("env", "flags", "source"),
    [({"ASH_PORT": "x"}, {}, "ASH_PORT"), ({}, {"port": "x"}, "--port")],
)
def test_load_value_that_does_not_fit_by_source(env, flags, source):
    """The error names the variable or the flag that has to change."""
    with pytest.raises(ConfigError) as caught:
        load(None, env, flags)

    assert str(caught.value) == (
        f"port (from {source}) must be a whole number from 0 to 65535, not 'x'"
    )


def test_load_secret_that_does_not_fit(toml):
    """An error about a secret does not show it."""
    with pytest.raises(ConfigError) as caught:
        load(toml("api_key = 123456"), {}, {})

    assert "123456" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\r"])
def test_load_secret_without_what_a_secret_store_adds(end):
    """A line end or blank around a secret is no part of it."""
    settings = load(None, {"ASH_API_KEY": f" sesame{end}", "ANTHROPIC_API_KEY": f"sk{end}"}, {})

    assert ("sesame", "sk") == (settings.api_key, settings.anthropic_api_key)


@pytest.mark.parametrize("key", ["ses\name", "ses\x00ame", "ses\x7fame"])
def test_load_key_with_a_control_character(key):
    """No header can carry it. The error names no part of it."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"ASH_API_KEY": key}, {})

    expected = "must be a text without control characters, and not empty"
    assert f"api_key (from ASH_API_KEY) {expected}" == str(caught.value)


@pytest.mark.parametrize(("key", "hint"), [("prot", "; did you mean port?"), ("zebra_stripes", "")])
def test_load_unknown_key(toml, key, hint):
    """An unknown key is an error that names the nearest known one."""
    path = toml(f"{key} = 1")

    with pytest.raises(ConfigError) as caught:
        load(path, {}, {})

    assert str(caught.value) == f"unknown key '{key}' in {path}{hint}"


def test_load_broken_toml(toml):
    """A file that is not TOML is an error that names the line."""
    with pytest.raises(ConfigError, match=r"ash\.toml is not valid TOML: .*line 2"):
        load(toml("port = 1\nhost\n"), {}, {})


def test_load_file_that_is_not_text(tmp_path):
    """A file that is not UTF-8 is a ConfigError like any other broken file."""
    (tmp_path / "ash.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="is not valid TOML"):
        load(tmp_path / "ash.toml", {}, {})


def test_load_missing_file(tmp_path):
    """A file that was named and is not there is an error."""
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.toml: No such file"):
        load(tmp_path / "gone.toml", {}, {})


def test_find_toml_prefers_the_flag(tmp_path):
    """`--config` wins over ASH_CONFIG, which wins over ./ash.toml."""
    (tmp_path / "ash.toml").touch()
    env = {"ASH_CONFIG": "from-env.toml"}

    assert tmp_path / "flag.toml" == find_toml(tmp_path / "flag.toml", env, tmp_path)
    assert find_toml(None, env, tmp_path).name == "from-env.toml"
    assert tmp_path / "ash.toml" == find_toml(None, {}, tmp_path)


def test_find_toml_without_any(tmp_path):
    """No file is fine when none was named."""
    assert find_toml(None, {}, tmp_path) is None


def test_unknown_environment_names_the_nearest():
    """A variable with our prefix that means nothing is told, known ones and others are not."""
    env = {"ASH_PROT": "1", "ASH_SERVER_URL": "x", "ASH_CONFIG": "x", "ASH_PORT": "1", "HOME": "/"}

    assert unknown_environment(env) == ["ASH_PROT is not a setting of ash; did you mean ASH_PORT?"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "best-effort"),
        ("127.8.9.1", "best-effort"),
        ("::1", "best-effort"),
        ("[::1]", "best-effort"),
        ("localhost", "best-effort"),
        ("0.0.0.0", "strict"),
        ("::", "strict"),
        ("192.168.1.5", "strict"),
        ("localhost.example.com", "strict"),
    ],
)
def test_effective_limits_when_not_set(host, expected):
    """A daemon that listens beyond loopback needs all limits unless its operator says otherwise."""
    assert expected == Settings(host=host).effective_limits
    assert is_loopback(host) == (expected == "best-effort")


def test_effective_limits_when_set():
    """What was set holds wherever the daemon listens."""
    assert "best-effort" == Settings(host="0.0.0.0", limits="best-effort").effective_limits


def test_isolation_when_not_set():
    """It is strict, wherever the daemon listens."""
    assert "strict" == Settings().isolation


def test_settings_repr():
    """The repr shows settings and hides secrets."""
    secrets = {o.field: "topsecret" for o in OPTIONS if o.secret}

    text = repr(Settings(port=5, **secrets))

    assert {"api_key", "anthropic_api_key", "anthropic_custom_headers"} <= secrets.keys()
    assert "port=5" in text
    assert "topsecret" not in text
