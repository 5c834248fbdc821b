"""The options of a session. Each is declared once, as a field of `SessionOptions`.

Request bodies, stored settings, the bridge's commands and the bodies that the client sends follow
from the declaration: a new option is one field here, a parameter of the client, a word in
docs/api.md and a test. `ash.protocol` imports this file inside every sandbox, so it has to be
quick to import.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from ash.shapes import FEW, AskedLimits, Env, McpServer, Names, OutputFormat, Thinking, one_of

Moment = Literal["create", "configure", "turn"]
B = TypeVar("B", bound=Struct)
S = TypeVar("S", bound="SessionOptions")

AT_CREATE: AbstractSet[Moment] = frozenset({"create"})
AT_TURN: AbstractSet[Moment] = frozenset({"turn"})
LASTING: AbstractSet[Moment] = frozenset({"create", "configure"})


class OptionRules(Struct, frozen=True):
    """What holds for an option besides its type and its default.

    `at` says when it may be given. One that is `fixed_at_spawn` can't change while its process
    runs: the engine is started anew for it. A `secret` is never uploaded with a snapshot.
    `asked` is the type that a request has to fit, where the field's own is wider.
    """

    at: AbstractSet[Moment]
    asked: Any = None
    fixed_at_spawn: bool = True
    secret: bool = False

    @property
    def kept(self) -> Literal["config", "private"] | None:
        """Where the session keeps it: in what the API shows, in what it does not, or nowhere."""
        if "create" not in self.at:
            return None
        return "config" if "configure" in self.at else "private"


class EngineOptions(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """What the engine is told. The default means: as the agent or the engine has it."""

    model: Annotated[str | None, OptionRules(LASTING | AT_TURN, fixed_at_spawn=False)] = None
    system_prompt: Annotated[str | None, OptionRules(AT_CREATE)] = None
    mcp_servers: Annotated[
        dict[str, Any] | None,
        OptionRules(AT_CREATE, Annotated[dict[str, McpServer], Meta(max_length=FEW)], secret=True),
    ] = None
    permission_mode: Annotated[
        str | None,
        OptionRules(
            AT_CREATE,
            Annotated[str, one_of("bypassPermissions", "permissionsByAgent", "default")],
        ),
    ] = None
    extra_env: Annotated[dict[str, str], OptionRules(AT_CREATE, Env, secret=True)] = field(
        default_factory=dict
    )
    allowed_tools: Annotated[list[str] | None, OptionRules(LASTING, Names)] = None
    disallowed_tools: Annotated[list[str] | None, OptionRules(LASTING, Names)] = None
    betas: Annotated[list[str] | None, OptionRules(LASTING, Names)] = None
    subagents: Annotated[
        dict[str, Any] | None,
        OptionRules(LASTING, Annotated[dict[str, Any], Meta(max_length=FEW)]),
    ] = None
    initial_agent: Annotated[str | None, OptionRules(LASTING)] = None
    include_partial_messages: Annotated[bool, OptionRules(AT_TURN, fixed_at_spawn=False)] = False
    max_turns: Annotated[int | None, OptionRules(AT_TURN, Annotated[int, Meta(ge=1)])] = None
    max_budget_usd: Annotated[float | None, OptionRules(AT_TURN, Annotated[float, Meta(gt=0)])] = (
        None
    )
    effort: Annotated[
        str | None, OptionRules(AT_TURN, Annotated[str, one_of("low", "medium", "high", "max")])
    ] = None
    thinking: Annotated[dict[str, Any] | None, OptionRules(AT_TURN, Thinking)] = None
    output_format: Annotated[dict[str, Any] | None, OptionRules(AT_TURN, OutputFormat)] = None


class SessionOptions(EngineOptions):
    """What the engine is told, and what its sandbox is."""

    limits: Annotated[dict[str, int] | None, OptionRules(AT_CREATE, AskedLimits)] = None


_FIELDS = structs.fields(SessionOptions)

# By their names in Python, and what the API calls them.
OPTIONS: dict[str, OptionRules] = {each.name: get_args(each.type)[1] for each in _FIELDS}
API_NAMES = {each.name: each.encode_name for each in _FIELDS}


def with_options(moment: Moment) -> Callable[[type[B]], type[B]]:
    """Gives a request's body a field for each option that may be given at that moment."""
    fields = [_request_field(each, moment) for each in _FIELDS if moment in OPTIONS[each.name].at]

    def add(body: type[B]) -> type[B]:
        made = msgspec.defstruct(body.__name__, fields, bases=(body,), module=body.__module__)
        return cast("type[B]", made)

    return add


def _request_field(declared: structs.FieldInfo, moment: Moment) -> tuple[str, Any, Any]:
    """At a change null takes an option back, and one that is left out stays as it is."""
    wide, option = get_args(declared.type)
    shape = option.asked or wide
    if moment == "configure":
        return declared.name, shape | UnsetType | None, UNSET
    if declared.default is None:
        shape |= None
    default: Any = {"default": declared.default, "default_factory": declared.default_factory}
    return declared.name, shape, field(**default)


def given(body: Struct, moment: Moment) -> dict[str, Any]:
    """The options that the body has, by their names in Python, as plain values."""
    values = {name: getattr(body, name) for name in OPTIONS if moment in OPTIONS[name].at}
    return {
        name: msgspec.to_builtins(value) for name, value in values.items() if value is not UNSET
    }


def without_secrets(options: S) -> tuple[S, list[str]]:
    """The options but for the secret ones, and the API's names of those that were taken out."""
    secret = {name: getattr(options, name) for name, option in OPTIONS.items() if option.secret}
    nothing = SessionOptions()
    emptied = structs.replace(options, **{name: getattr(nothing, name) for name in secret})
    return emptied, sorted(API_NAMES[name] for name, value in secret.items() if value)
