"""Builds the CLI's messages for the scripted engine; tests/fixtures/cli holds real ones."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct

from ash import script
from ash.model_turn import error_type, new_id, text_block
from bridge.engine import Launch

TOOLS = ("Bash", "Write")
_AGENTS = ("general-purpose",)
# Invented prices, in USD a token, so that budgets can be tested.
_INPUT_PRICE, _OUTPUT_PRICE = 4e-6, 20e-6
_FAST_MODE = {"fast_mode_state": "off", "fast_mode_disabled_reason": "sdk_opt_in_required"}
_SUBAGENTS = {
    "spawned": 0,
    "requested": {"background": 0, "foreground": 0, "unset": 0},
    "started_in_background": 0,
    "max_depth": 0,
    "spawned_by_subagents": 0,
    "completed": 0,
    "failed": 0,
    "killed": {"parent": 0, "user": 0, "system": 0},
    "refused": {"depth_limit": 0, "concurrency_limit": 0, "budget": 0},
    "by_type": {},
}


class Usage(Struct):
    """Adds up the tokens used."""

    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, input_tokens: int, output_tokens: int) -> None:
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    @property
    def cost_usd(self) -> float:
        return self.input_tokens * _INPUT_PRICE + self.output_tokens * _OUTPUT_PRICE


class TurnEnding(Struct, kw_only=True):
    """How a turn ended. `counted` says whether its result shows the tokens it used."""

    subtype: str = "success"
    reason: str = "completed"
    stop_reason: str | None = "end_turn"
    counted: bool = True
    fields: dict[str, Any] = {}


def completed(text: str, ms: int) -> TurnEnding:
    times = ("ttft_ms", "ttft_stream_ms", "first_content_frame_ms")
    said = {"api_error_status": None, "result": text, "time_to_request_ms": 0}
    return TurnEnding(fields={**said, **dict.fromkeys(times, ms)})


def refused(code: int, text: str) -> TurnEnding:
    """The model's endpoint answered with that HTTP status."""
    kind = {"api_error_status": code, "api_error_type": error_type(code)}
    fields = {"is_error": True, "result": text, **kind}
    return TurnEnding(reason="api_error", stop_reason="stop_sequence", fields=fields)


def interrupted(reason: str, stop_reason: str | None) -> TurnEnding:
    """`reason` is aborted_streaming or aborted_tools."""
    said = f"[ede_diagnostic] result_type=user last_content_type=n/a stop_reason={stop_reason}"
    return TurnEnding(
        subtype="error_during_execution",
        reason=reason,
        stop_reason=stop_reason,
        counted=reason == "aborted_tools",
        fields={"errors": [said]},
    )


def out_of_turns(limit: int) -> TurnEnding:
    return TurnEnding(
        subtype="error_max_turns",
        reason="max_turns",
        stop_reason="tool_use",
        fields={"errors": [f"Reached maximum number of turns ({limit})"]},
    )


def out_of_budget(limit: float, stop_reason: str | None) -> TurnEnding:
    return TurnEnding(
        subtype="error_max_budget_usd",
        reason="budget_exhausted",
        stop_reason=stop_reason,
        counted=False,
        fields={"errors": [f"Reached maximum budget (${limit})"]},
    )


def init(launch: Launch, cwd: str, model: str) -> dict[str, Any]:
    """The message that begins each turn; it shows what the engine was started with."""
    refused = launch.disallowed_tools or ()
    servers = [
        {"name": name, "status": "connected", "source": "dynamic"}
        for name in launch.mcp_servers or ()
    ]
    return {
        "type": "system",
        "subtype": "init",
        "cwd": cwd,
        "tools": [tool for tool in TOOLS if tool not in refused],
        "mcp_servers": servers,
        "model": model,
        "permissionMode": launch.permission_mode or "default",
        "slash_commands": [],
        "terminal_slash_commands": [],
        "apiKeySource": "none",
        "claude_code_version": "scripted",
        "output_style": "default",
        "agents": [*_AGENTS, *(launch.subagents or ())],
        "skills": [],
        "plugins": [{"name": "script", "path": "builtin", "source": "script@builtin"}],
        "capabilities": [],
        "analytics_disabled": True,
        "product_feedback_disabled": True,
        "served_by_anthropic": False,
        "memory_paths": {"auto": ""},
        "original_cwd": cwd,
        "additional_directories": [],
        "messaging_socket_path": "",
        **_FAST_MODE,
        "per_turn_effort_active": True,
        "ultrathink_available": False,
        "ultrathink_typed_raises": False,
        "view_mode": "default",
    }


def status() -> dict[str, Any]:
    return {"type": "system", "subtype": "status", "status": "requesting"}


def stream_event(event: dict[str, Any], message_id: str, **extra: Any) -> dict[str, Any]:
    """A stream event; `extra` are the fields that some kinds of event have in addition."""
    head = {"type": "stream_event", "event": event, "parent_tool_use_id": None}
    return {**head, **extra, "api_message_id": message_id}


def assistant(message: dict[str, Any], **extra: Any) -> dict[str, Any]:
    whole = {**message, "context_management": None}
    head = {"type": "assistant", "message": whole, "parent_tool_use_id": None}
    return {**head, "timestamp": now(), **extra}


def user(block: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """A message in the user's role that a tool or the CLI has written."""
    message = {"role": "user", "content": [block]}
    head = {"type": "user", "message": message, "parent_tool_use_id": None}
    return {**head, "timestamp": now(), **extra}


def aborted_events(usage: dict[str, int], message_id: str) -> list[dict[str, Any]]:
    """The events that end the stream of a message whose first block was interrupted."""
    empty = {"container": None, "stop_details": None, "stop_reason": None, "stop_sequence": None}
    spent: dict[str, Any] = {
        **usage,
        "output_tokens": 1,
        "output_tokens_details": {"thinking_tokens": 0},
        "iterations": [],
        "server_tool_use": _no_searches(),
        "fallback_credit": None,
    }
    delta = {"type": "message_delta", "context_management": None, "delta": empty, "usage": spent}
    abandoned = {"api_message_id": message_id, "from_block_index": 1}
    return [
        stream_event({"type": "content_block_stop", "index": 0}, message_id),
        stream_event(delta, message_id),
        stream_event({"type": "message_stop"}, message_id, abandoned_blocks=abandoned),
    ]


def api_error(code: int, text: str) -> dict[str, Any]:
    """The message that replaces an answer when the model's endpoint refuses."""
    message = {
        "diagnostics": None,
        "id": str(uuid4()),
        "container": None,
        "model": "<synthetic>",
        "role": "assistant",
        "stop_details": None,
        "stop_reason": "stop_sequence",
        "stop_sequence": "",
        "type": "message",
        "usage": {
            "output_tokens_details": None,
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "server_tool_use": _no_searches(),
            "service_tier": None,
            "cache_creation": _no_cache(),
            "inference_geo": None,
            "iterations": None,
            "speed": None,
            "fallback_credit": None,
        },
        "content": [text_block(text)],
    }
    return assistant(
        message,
        error=_error_word(code),
        request_id=new_id("req"),
        is_api_error_message=True,
        api_error_status=code,
        api_error_type=error_type(code),
    )


def api_error_text(failure: script.Fail, model: str) -> str:
    """The CLI's text for that HTTP status."""
    code, said = failure.code, failure.text
    if code == 404:
        return (
            f"There's an issue with the selected model ({model}). "
            "It may not exist or you may not have access to it."
        )
    if code == 413:
        return "Request too large (max 32MB)."
    if code == 429:
        return f"API Error: Request rejected (429) · {said}"
    if code >= 500:
        return (
            f"API Error: {code} {said}. This is a server-side issue, usually temporary — try "
            "again in a moment. If it persists, check your inference gateway (localhost)."
        )
    prefix = "Failed to authenticate. " if code in {401, 403} else ""
    return f"{prefix}API Error: {code} {said}"


def result(
    ending: TurnEnding, *, model: str, number: int, turns: int, spent: Usage, total: Usage, ms: int
) -> dict[str, Any]:
    """The message that ends a turn: the `number`-th of a process that has used `total` tokens."""
    shown = spent if ending.counted else Usage()
    return {
        "duration_api_ms": ms,
        "stop_reason": ending.stop_reason,
        "total_cost_usd": total.cost_usd,
        "usage": {
            "input_tokens": shown.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": shown.output_tokens,
            "output_tokens_details": {"thinking_tokens": 0},
            "server_tool_use": _no_searches(),
            "service_tier": "standard",
            "cache_creation": _no_cache(),
            "inference_geo": "",
            "iterations": [],
            "speed": "standard",
            "fallback_credit": None,
        },
        "modelUsage": _model_usage(model, total),
        "permission_denials": [],
        "terminal_reason": ending.reason,
        **_FAST_MODE,
        "subagent_stats": _SUBAGENTS,
        "safety_stops": 0,
        "is_error": ending.subtype != "success",
        "num_turns": turns,
        "subtype": ending.subtype,
        "type": "result",
        "duration_ms": ms,
        "queued_turn_count": 0,
        "result_index": number,
        "model_usage_since_last_result": _model_usage(model, spent),
        **ending.fields,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error_word(code: int) -> str:
    words = {401: "authentication_failed", 403: "authentication_failed", 404: "model_not_found"}
    words |= {413: "invalid_request", 429: "rate_limit"}
    return words.get(code, "server_error" if code >= 500 else "unknown")


def _model_usage(model: str, usage: Usage) -> dict[str, Any]:
    if not usage.input_tokens:
        return {}
    counts = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cacheReadInputTokens": 0,
        "cacheCreationInputTokens": 0,
        "webSearchRequests": 0,
        "costUSD": usage.cost_usd,
        "contextWindow": 1_000_000,
        "maxOutputTokens": 128_000,
        "thinkingTokens": 0,
        "cacheCreationEphemeral5mInputTokens": 0,
        "cacheCreationEphemeral1hInputTokens": 0,
        "canonicalModel": model,
        "provider": "firstParty",
        "costBasis": "list",
    }
    return {model: counts}


def _no_searches() -> dict[str, int]:
    return {"web_search_requests": 0, "web_fetch_requests": 0}


def _no_cache() -> dict[str, int]:
    return {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0}
