"""One turn of the scripted engine: sends the messages of the CLI in the CLI's order."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import msgspec
import trio

from ash import script
from ash.model_turn import ModelTurn, text_block
from bridge import cli_messages as cli
from bridge import scripted_background as background
from bridge import scripted_tools
from bridge.engine import Emit, EngineDied, Launch
from bridge.scripted_background import ScriptedBackground, ScriptedTask
from bridge.scripted_tools import ToolOutcome

T = TypeVar("T")

_DISPLAY = {"thinking_display": "updates"}
_STOPPED = (
    "The user doesn't want to proceed with this tool use. The tool use was rejected. STOP what "
    "you are doing and wait for the user to tell you how to proceed."
)


class Interrupted(Exception):
    """The turn was interrupted while it waited."""


class InterruptFlag:
    """Lets any task interrupt a turn. It only cuts pauses and tools, never the write of a line."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: trio.CancelScope | None = None

    def set(self) -> None:
        self._is_set = True
        if self._waiting:
            self._waiting.cancel()

    async def wait(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Raises Interrupted if the flag is set before or during the wait."""
        with trio.CancelScope() as self._waiting:
            if not self._is_set:
                return await wait()
        raise Interrupted


class ScriptedTurn:
    """Plays one turn. `texts` are all texts of the user, `total` the tokens used before it."""

    def __init__(
        self,
        launch: Launch,
        model: str,
        texts: list[str],
        total: cli.Usage,
        emit: Emit,
        *,
        tasks: ScriptedBackground,
    ) -> None:
        self.interrupt = InterruptFlag()
        # The uuid of the agent's last message.
        self.answer = str(uuid4())
        self._launch = launch
        self._model = model
        self._texts = texts
        self._total = total
        self._emit = emit
        self._tasks = tasks
        self._cwd = Path.cwd()
        self._spent = cli.Usage()
        self._turns = 1
        self._begun = trio.current_time()

    async def play(self) -> cli.TurnEnding:
        """Sends all messages but the result. Raises EngineDied where the script says so."""
        return await self._answer(script.answer(self._texts))

    async def play_own(self, task: ScriptedTask) -> cli.TurnEnding:
        """As `play`, but the turn answers the end of a task in the background."""
        await self._send(background.ended(task))
        await self._send(self._tasks.listing())
        return await self._answer(script.after_task(task.description))

    async def _answer(self, wanted: script.ScriptAnswer) -> cli.TurnEnding:
        await self._send(cli.init(self._launch, str(self._cwd), self._model))
        await self._send(cli.status())
        if broke := self._out_of_budget(None):
            return broke
        answer = self._allowed(wanted)
        if isinstance(answer, script.Fail):
            return await self._fail(answer)
        if isinstance(answer, script.Crash):
            return await self._crash()
        if isinstance(answer, script.Use):
            return await self._use(answer)
        return await self._say(answer)

    async def clear(self, old: str, number: int) -> None:
        """Sends what the CLI does for `/clear`; the launch has the new conversation's id."""
        reset = {"type": "conversation_reset", "new_conversation_id": str(uuid4())}
        await self._send({**reset, "trigger": "clear"}, session_id=old)
        await self._send(cli.init(self._launch, str(self._cwd), self._model))
        self._turns = 0
        await self.end(cli.completed("", self._milliseconds()), number)

    async def end(self, ending: cli.TurnEnding, number: int, **more: Any) -> None:
        """Sends the result of the conversation's turn with that number."""
        result = cli.result(
            ending,
            model=self._model,
            number=number,
            turns=self._turns,
            spent=self._spent,
            total=self._total,
            ms=self._milliseconds(),
        )
        await self._send({**result, **more})

    def _allowed(self, answer: script.ScriptAnswer) -> script.ScriptAnswer:
        refused = self._launch.disallowed_tools or ()
        if isinstance(answer, script.Use) and answer.tool in refused:
            return script.not_offered(answer.tool)
        return answer

    async def _say(self, answer: script.Say) -> cli.TurnEnding:
        turn = self._model_turn(answer)
        said: list[str] = []
        for event, pause in turn.events():
            await self._send_event(turn, event)
            if text := event.get("delta", {}).get("text"):
                said.append(text)
                try:
                    await self.interrupt.wait(partial(trio.sleep, pause))
                except Interrupted:
                    return await self._cut(turn, "".join(said))
        self._charge(turn, turn.usage["output_tokens"])
        return cli.completed(answer.text, self._milliseconds())

    async def _cut(self, turn: ModelTurn, said: str) -> cli.TurnEnding:
        self._charge(turn, script.tokens(said))
        await self._send(cli.assistant(turn.begun(text_block(said)), aborted=True))
        await self._send_user(text_block("[Request interrupted by user]"))
        for message in cli.aborted_events(turn.usage, turn.id):
            await self._send(message)
        return cli.interrupted("aborted_streaming", None)

    async def _use(self, call: script.Use) -> cli.TurnEnding:
        if path := call.input.get("file_path"):
            call = script.Use(call.tool, {**call.input, "file_path": str(self._cwd / path)})
        turn = self._model_turn(call)
        for event, _ in turn.events():
            await self._send_event(turn, event)
        self._charge(turn, turn.usage["output_tokens"])
        if broke := self._out_of_budget("tool_use"):
            return broke
        identity = turn.blocks[0]["id"]
        try:
            outcome = await self.interrupt.wait(partial(self._run, call, identity))
        except Interrupted:
            await self._stop_tool(identity)
            return cli.interrupted("aborted_tools", "tool_use")
        await self._send_outcome(identity, outcome)
        if self._launch.max_turns == 1:
            return cli.out_of_turns(1)
        await self._send(cli.status())
        return await self._say(script.after_tool(outcome.content, is_error=outcome.is_error))

    async def _run(self, call: script.Use, identity: str) -> ToolOutcome:
        if call.input.get("run_in_background"):
            return await self._run_in_background(call, identity)
        if call.tool == "Bash":
            return await scripted_tools.bash(call.input["command"])
        path, text = call.input["file_path"], call.input["content"]
        return await scripted_tools.write(path, text, workspace=self._cwd)

    async def _run_in_background(self, call: script.Use, identity: str) -> ToolOutcome:
        task = self._tasks.start(call, identity)
        await self._send(self._tasks.listing())
        await self._send(background.started(task))
        return background.outcome(task)

    async def _stop_tool(self, identity: str) -> None:
        await self._send_user(
            {"type": "tool_result", "content": _STOPPED, "is_error": True, "tool_use_id": identity},
            tool_use_result="User rejected tool use",
            tool_result_meta=[{"id": identity, "non_execution_kind": "user-rejected"}],
        )
        await self._send_user(text_block("[Request interrupted by user for tool use]"))

    async def _send_outcome(self, identity: str, outcome: ToolOutcome) -> None:
        block: dict[str, Any] = {"tool_use_id": identity, "type": "tool_result"}
        block["content"] = outcome.content
        if outcome.is_error is not None:
            block["is_error"] = outcome.is_error
        extra: dict[str, Any] = {"tool_use_result": outcome.detail}
        if outcome.was_run:
            decision = {"decision": "accept", "source": "config", "reason_type": "mode"}
            extra["tool_result_meta"] = [{"id": identity, "permission_decision": decision}]
        await self._send_user(block, **extra)

    async def _fail(self, failure: script.Fail) -> cli.TurnEnding:
        text = cli.api_error_text(failure, self._model)
        await self._send(cli.api_error(failure.code, text))
        return cli.refused(failure.code, text)

    async def _crash(self) -> NoReturn:
        turn = self._model_turn(script.say("about to crash"))
        for event, _ in islice(turn.events(), 3):
            await self._send_event(turn, event)
        raise EngineDied("the engine's process was killed by signal 9")

    def _model_turn(self, answer: script.Say | script.Use) -> ModelTurn:
        return ModelTurn(self._model, answer, script.tokens(*self._texts))

    def _charge(self, turn: ModelTurn, output_tokens: int) -> None:
        for usage in (self._spent, self._total):
            usage.add(turn.usage["input_tokens"], output_tokens)

    def _out_of_budget(self, stop_reason: str | None) -> cli.TurnEnding | None:
        budget = self._launch.max_budget_usd
        if budget is None or self._total.cost_usd <= budget:
            return None
        return cli.out_of_budget(budget, stop_reason)

    def _milliseconds(self) -> int:
        return int((trio.current_time() - self._begun) * 1000)

    async def _send_event(self, turn: ModelTurn, event: dict[str, Any]) -> None:
        """Sends a stream event; before the end of a block it sends the whole block, as the CLI."""
        extra: dict[str, Any] = {}
        block = turn.blocks[event["index"]] if "index" in event else {}
        if event["type"] == "message_start":
            extra = {"ttft_ms": self._milliseconds(), **_DISPLAY}
        elif "thinking" in event.get("content_block", event.get("delta", {})):
            extra = _DISPLAY
        if event["type"] == "content_block_stop":
            thought = {"thinking_duration_ms": 0, **_DISPLAY} if "thinking" in block else {}
            await self._send(cli.assistant(turn.begun(block), **thought))
        await self._send(cli.stream_event(event, turn.id, **extra))

    async def _send_user(self, block: dict[str, Any], **extra: Any) -> None:
        self._turns += 1
        await self._send(cli.user(block, **extra))

    async def _send(self, message: dict[str, Any], session_id: str | None = None) -> None:
        identity = {"session_id": session_id or self._launch.session_id, "uuid": str(uuid4())}
        if message["type"] == "assistant":
            self.answer = identity["uuid"]
        await self._emit(msgspec.json.encode({**message, **identity}))
