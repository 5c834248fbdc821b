"""Loads the settings: flags override environment variables, and these override `ash.toml`.

`Settings` is the only table of options; each field has its environment variable and help text.
Parsing, the flags of `ashd`, `ash.toml.example` and docs/configuration.md are made from it;
`tools/reference.py` writes the last two.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from ash.addresses import is_loopback
from ash.config_rules import rule_of
from ash.config_values import Option, checked, from_text, nearest, read_toml
from ash.errors import ConfigError
from ash.shapes import CpuPercent, DiskMb, Key, MaxProcesses, MemoryMb

IsolationLevel = Literal["strict", "best-effort", "none"]
LimitsLevel = Literal["strict", "best-effort"]

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Text = Annotated[str, Meta(min_length=1)]
Url = Annotated[
    str, Meta(pattern=r"^(?i:https?)://[^\s/?#]+", description="an http:// or https:// URL")
]
SnapshotUrl = Annotated[
    str,
    Meta(pattern=r"^(s3|gs)://[^\s/]+(/\S*)?$", description="an s3:// or gs:// URL of a bucket"),
]
WebOrigin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^\s/,]+)$",
        description="an origin such as https://app.example.com, or *",
    ),
]


class Doc(Struct, frozen=True):
    """The environment variable and help text of a field of `Settings`."""

    env: str
    help: str
    secret: bool = False


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of the daemon. Durations are in seconds unless the name says ms.

    `load` checks every value; a Settings made by hand is not checked. Its repr hides secrets.
    """

    host: Annotated[Text, Doc("ASH_HOST", "Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(ge=0, le=65_535),
        Doc("ASH_PORT", "Port to listen on; 0 takes a free one, which the start line shows."),
    ] = 4100
    data_dir: Annotated[
        Path,
        Doc("ASH_DATA_DIR", "Folder for the database, agents, sessions and sandboxes."),
    ] = Path("data")
    engine: Annotated[
        Literal["claude-agent", "claude-code", "scripted"],
        Doc("ASH_ENGINE", "The engine that runs sessions; `scripted` needs no model."),
    ] = "claude-agent"
    isolation: Annotated[
        IsolationLevel,
        Doc(
            "ASH_ISOLATION",
            "How sandboxes are closed off. `strict` does not start without all of it,"
            " `best-effort` does with what the machine has, `none` uses nothing of it.",
        ),
    ] = "strict"
    limits: Annotated[
        LimitsLevel | None,
        Doc(
            "ASH_LIMITS",
            "Whether to start on a machine that can't enforce every limit. Not set: best-effort"
            " while listening on loopback only, else strict.",
        ),
    ] = None
    api_key: Annotated[
        Key | None,
        Doc(
            "ASH_API_KEY",
            "The key that clients send. Not set: one is made on first start and written to"
            " <data_dir>/initial-api-key. Setting a key later revokes that one.",
            secret=True,
        ),
    ] = None
    permission_mode: Annotated[
        Literal["bypassPermissions", "permissionsByAgent", "default"],
        Doc("ASH_PERMISSION_MODE", "Which tools run unasked, unless a session sets it itself."),
    ] = "bypassPermissions"
    max_sandboxes: Annotated[
        int, Meta(ge=1), Doc("ASH_MAX_SANDBOXES", "How many sandboxes may live at a time.")
    ] = 1000
    network: Annotated[
        tuple[Text, ...],
        Doc(
            "ASH_NETWORK",
            "What sandboxes may reach at most: `none`, `model-only`, `public`, or hosts such as"
            " `api.example.com`, `*.example.com`, `host:port`.",
        ),
    ] = ("public",)
    sandbox_memory_mb: Annotated[
        MemoryMb, Doc("ASH_SANDBOX_MEMORY_MB", "Memory that a sandbox may take at most, in MB.")
    ] = 2048
    sandbox_cpu_percent: Annotated[
        CpuPercent,
        Doc("ASH_SANDBOX_CPU_PERCENT", "CPU time of a sandbox, in percent of one CPU."),
    ] = 100
    sandbox_disk_mb: Annotated[
        DiskMb, Doc("ASH_SANDBOX_DISK_MB", "What a sandbox's files may take on disk, in MB.")
    ] = 1024
    disk_free_mb: Annotated[
        int,
        Meta(ge=0, le=2**30),
        Doc(
            "ASH_DISK_FREE_MB",
            "What has to stay free on the disk of the data directory, in MB, but never more than a"
            " tenth of it. With less, nothing new begins there, and the sandbox that wrote the"
            " most is ended. 0 = no such floor.",
        ),
    ] = 1024
    sandbox_max_processes: Annotated[
        MaxProcesses,
        Doc("ASH_SANDBOX_MAX_PROCESSES", "Processes and threads in a sandbox; the CLI has 15."),
    ] = 256
    max_connections: Annotated[
        int,
        Meta(ge=16, le=100_000),
        Doc(
            "ASH_MAX_CONNECTIONS",
            "Connections of clients at a time, each up to 0.1 MB of memory; fewer if `ulimit -n` is"
            " low. A quarter is for clients that have not shown a key yet.",
        ),
    ] = 4096
    max_warm: Annotated[
        int,
        Meta(ge=0),
        Doc("ASH_MAX_WARM", "How many booted sandboxes may wait for a session, of all agents."),
    ] = 8
    pre_warm_count: Annotated[
        int,
        Meta(ge=0),
        Doc("ASH_PRE_WARM_COUNT", "Booted sandboxes for each agent whose config does not set it."),
    ] = 1
    parallel_starts: Annotated[
        int, Meta(ge=1), Doc("ASH_PARALLEL_STARTS", "How many engines may boot at a time.")
    ] = 2
    idle_timeout_ms: Annotated[
        int,
        Meta(ge=0),
        Doc(
            "ASH_IDLE_TIMEOUT_MS",
            "A session without a turn for so long is paused, its sandbox ended; 0 = never.",
        ),
    ] = 1_800_000
    background_timeout_ms: Annotated[
        int,
        Meta(ge=0),
        Doc(
            "ASH_BACKGROUND_TIMEOUT_MS",
            "How long after the last message or command what an agent runs in the background keeps"
            " its session from being idle.",
        ),
    ] = 3_600_000
    auto_resume: Annotated[
        bool,
        Doc(
            "ASH_AUTO_RESUME",
            "Whether a message resumes a session that is not active, unless the request sets it"
            " itself (`?resume=auto`, `?resume=no`).",
        ),
    ] = False
    grace_seconds: Annotated[
        Seconds,
        Doc("ASH_GRACE_SECONDS", "How long running turns may take to end at shutdown."),
    ] = 10.0
    keep_alive_timeout: Annotated[
        float,
        Meta(ge=1, le=86_400),
        Doc(
            "ASH_KEEP_ALIVE_TIMEOUT",
            "How long a connection without a request stays open. Set it higher than the time for"
            " which a proxy in front keeps its connections.",
        ),
    ] = 600.0
    turn_silence_timeout: Annotated[
        Seconds,
        Doc("ASH_TURN_SILENCE_TIMEOUT", "A turn without output for so long is ended; 0 = never."),
    ] = 600.0
    model_retry_timeout: Annotated[
        Seconds,
        Doc(
            "ASH_MODEL_RETRY_TIMEOUT",
            "A model call that fails for so long is not tried again, and its turn ends; 0 = as"
            " often as the CLI does, eleven times in 3 minutes.",
        ),
    ] = 120.0
    model_silence_timeout: Annotated[
        Seconds,
        Doc(
            "ASH_MODEL_SILENCE_TIMEOUT",
            "A model call ends if the endpoint sends nothing for so long; 0 = never. Raise it for"
            " a model that reads long prompts slowly.",
        ),
    ] = 300.0
    engine_start_timeout: Annotated[
        Seconds,
        Doc("ASH_ENGINE_START_TIMEOUT", "How long a sandbox may take to get its engine ready."),
    ] = 60.0
    script_timeout: Annotated[
        Seconds,
        Doc("ASH_SCRIPT_TIMEOUT", "How long an agent's install.sh and startup.sh may take each."),
    ] = 120.0
    hook_timeout: Annotated[
        float,
        Meta(ge=1, le=86_400),
        Doc(
            "ASH_HOOK_TIMEOUT",
            "How long a hook may take that has no `timeout` of its own. A guard that takes longer"
            " refuses what it guards.",
        ),
    ] = 60.0
    snapshot_url: Annotated[
        SnapshotUrl | None,
        Doc(
            "ASH_SNAPSHOT_URL",
            "Where files of sessions and agents are backed up: `s3://bucket/prefix` or"
            " `gs://bucket/prefix`. Credentials as for the cloud's own tools: AWS_*, GOOGLE_*.",
        ),
    ] = None
    allowed_origins: Annotated[
        tuple[WebOrigin, ...],
        Doc("ALLOWED_ORIGINS", "Web origins that browsers may call from."),
    ] = ("*",)
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Doc("ASH_LOG_LEVEL", "The least severe level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Doc("ASH_LOG_FORMAT", "`auto` is readable on a terminal and JSON lines otherwise."),
    ] = "auto"
    anthropic_api_key: Annotated[
        Text | None, Doc("ANTHROPIC_API_KEY", "The key for the model endpoint.", secret=True)
    ] = None
    anthropic_auth_token: Annotated[
        Text | None,
        Doc(
            "ANTHROPIC_AUTH_TOKEN",
            "A token for the model endpoint, sent as `Authorization: Bearer …`.",
            secret=True,
        ),
    ] = None
    claude_code_oauth_token: Annotated[
        Text | None,
        Doc(
            "CLAUDE_CODE_OAUTH_TOKEN",
            "A token of a Claude subscription, as `claude setup-token` makes it.",
            secret=True,
        ),
    ] = None
    anthropic_base_url: Annotated[
        Url | None,
        Doc("ANTHROPIC_BASE_URL", "Another model endpoint than Anthropic's, without `/v1`."),
    ] = None
    anthropic_custom_headers: Annotated[
        Text | None,
        Doc(
            "ANTHROPIC_CUSTOM_HEADERS",
            "Headers for every model call, one `Name: value` a line.",
            secret=True,
        ),
    ] = None
    claude_code_executable: Annotated[
        Path | None,
        Doc("CLAUDE_CODE_EXECUTABLE", "Another `claude` than the one that comes with the SDK."),
    ] = None

    @property
    def effective_limits(self) -> LimitsLevel:
        """What is set for limits, or else the default for the listening address."""
        if self.limits is not None:
            return self.limits
        return "best-effort" if is_loopback(self.host) else "strict"

    def __repr__(self) -> str:
        shown = (
            f"{o.field}={'***' if o.secret and value is not None else repr(value)}"
            for o in OPTIONS
            for value in (getattr(self, o.field),)
        )
        return f"Settings({', '.join(shown)})"


def find_toml(flag: Path | None, env: Mapping[str, str], folder: Path) -> Path | None:
    """The file to load: from `--config`, from ASH_CONFIG, or `ash.toml` in the folder."""
    if flag is not None:
        return flag
    if named := env.get("ASH_CONFIG"):
        return Path(named)
    default = folder / "ash.toml"
    return default if default.exists() else None


def load(
    toml_path: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    given_by: str | None = None,
) -> Settings:
    """Loads settings from the file, the environment and the flags; later ones override earlier.

    `flags` maps field names to texts or typed values; None means not set, and so does an empty
    environment variable. Raises ConfigError, which names the key, the source of its value and
    what is allowed. `given_by` is the source to name for `flags` that are not command-line flags.
    """
    values: dict[str, Any] = {}
    if toml_path is not None:
        written = read_toml(toml_path)
        _refuse_unknown(written, str(toml_path))
        values |= {k: checked(_BY_FIELD[k], v, str(toml_path)) for k, v in written.items()}
    for option in OPTIONS:
        if text := env.get(option.env):
            values[option.field] = checked(option, from_text(option, text), option.env)
    given = {key: value for key, value in flags.items() if value is not None}
    _refuse_unknown(given, given_by or "flags")
    for key, value in given.items():
        option = _BY_FIELD[key]
        typed = from_text(option, value) if isinstance(value, str) else value
        values[key] = checked(option, typed, given_by or option.flag)
    return Settings(**values)


def unknown_environment(env: Mapping[str, str]) -> list[str]:
    """A warning for each `ASH_…` variable that is not a setting.

    It is no error, because other programs may use the prefix too.
    """
    # These two are not settings of the daemon, but of the client and for finding the file.
    known = {o.env for o in OPTIONS} | {"ASH_SERVER_URL", "ASH_CONFIG"}
    strangers = sorted(name for name in env if name.startswith("ASH_") and name not in known)
    return [f"{name} is not a setting of ash{nearest(name, known)}" for name in strangers]


def _refuse_unknown(keys: Mapping[str, Any], source: str) -> None:
    for key in keys:
        if key not in _BY_FIELD:
            raise ConfigError(f"unknown key {key!r} in {source}{nearest(key, _BY_FIELD)}")


def _options() -> tuple[Option, ...]:
    hints = get_type_hints(Settings, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(Settings):
        kind = hints[field.name]
        doc = next(extra for extra in get_args(kind) if isinstance(extra, Doc))
        rows.append(
            Option(
                field=field.name,
                env=doc.env,
                type=kind,
                default=field.default,
                help=doc.help,
                rule=rule_of(kind),
                secret=doc.secret,
            )
        )
    return tuple(rows)


OPTIONS: tuple[Option, ...] = _options()
_BY_FIELD = {option.field: option for option in OPTIONS}
