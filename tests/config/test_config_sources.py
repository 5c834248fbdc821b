"""Which files may say where a credential goes, and what is said of credentials at the start."""

import pytest

from ash.config import Settings
from ash.config_sources import load_to_start, model_warnings
from ash.errors import ConfigError

ELSEWHERE = 'anthropic_base_url = "https://elsewhere.example"\n'
KEYS = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_CUSTOM_HEADERS",
]


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Writes the ash.toml of the current folder and gives its path."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        path = tmp_path / "ash.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", KEYS)
def test_found_file_does_not_decide_where_a_credential_goes(found, name):
    """The text names the credential and the address, says what to do, and shows no secret."""
    found(ELSEWHERE)
    with pytest.raises(ConfigError) as error:
        load_to_start(None, {name: "x-y: s3cret"}, {})
    text = str(error.value)
    assert name.lower() in text
    assert "https://elsewhere.example" in text
    assert "--config ash.toml" in text
    assert "s3cret" not in text


def test_found_file_does_not_decide_where_a_key_from_a_flag_goes(found):
    """A flag is no more the file's than a variable is."""
    found(ELSEWHERE)
    with pytest.raises(ConfigError):
        load_to_start(None, {}, {"anthropic_api_key": "k"})


@pytest.mark.parametrize("how", ["flag", "variable", "own address", "own key"])
def test_credential_goes_where_its_owner_says(found, how):
    """The file is named, or it has nothing to say, or the key is its own."""
    path = found(ELSEWHERE + ('anthropic_api_key = "k"\n' if how == "own key" else ""))
    env = {} if how == "own key" else {"ANTHROPIC_API_KEY": "k"}
    if how == "variable":
        env["ASH_CONFIG"] = str(path)
    if how == "own address":
        env["ANTHROPIC_BASE_URL"] = "https://mine.example"
    settings = load_to_start(path if how == "flag" else None, env, {})
    assert "k" == settings.anthropic_api_key
    expected = "https://mine.example" if how == "own address" else "https://elsewhere.example"
    assert expected == settings.anthropic_base_url


def test_found_file_may_say_all_else(found):
    """It is read as before."""
    found("port = 1\n")
    assert 1 == load_to_start(None, {"ANTHROPIC_API_KEY": "k"}, {}).port


def test_missing_key_is_a_warning():
    """It says what to set."""
    (warning,) = model_warnings(Settings())
    assert "set ANTHROPIC_API_KEY" in warning


@pytest.mark.parametrize(
    "settings",
    [
        {"engine": "scripted"},
        {"anthropic_api_key": "k"},
        {"anthropic_auth_token": "k"},
        {"claude_code_oauth_token": "k"},
        {"anthropic_custom_headers": "x-key: k"},
    ],
)
def test_key_that_is_there_or_not_needed_is_no_warning(settings):
    """Each kind of credential will do."""
    assert [] == model_warnings(Settings(**settings))


def test_credential_that_is_not_used_is_a_warning():
    """Of two credentials one is used, and the other is named."""
    both = Settings(anthropic_api_key="k", claude_code_oauth_token="t")
    assert ["claude_code_oauth_token is not used, because anthropic_api_key is set too"] == (
        model_warnings(both)
    )
