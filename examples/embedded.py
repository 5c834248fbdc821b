"""An agent inside a script: no server, no port, no client.

    python examples/embedded.py "How are you?"

It asks the model with the key in ANTHROPIC_API_KEY. Without a key it asks the stub model, which
repeats the question.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from ash import Ash
from ash.testing import StubModel

AGENT = Path(__file__).parent / "hello-agent"


async def main(question: str) -> None:
    # With a data directory that is not temporary, the next run could resume the sessions.
    with TemporaryDirectory(prefix="ash-embedded-") as data_dir:
        async with model() as settings, Ash(data_dir=data_dir, **settings) as ash:
            await ash.deploy_agent("hello", path=str(AGENT))
            session = await ash.create_session("hello")
            message = ash.send_message(session.id, question, include_partial_messages=True)
            async with message as events:
                async for event in events:
                    if event.event == "text_delta":
                        print(event.json()["delta"], end="", flush=True)
                    if event.event == "error":
                        print(event.json()["error"], file=sys.stderr)
            print()


@asynccontextmanager
async def model() -> AsyncIterator[dict[str, str | None]]:
    """Gives the settings for the model to ask, and keeps the stub model open if it is that."""
    if key := os.environ.get("ANTHROPIC_API_KEY"):
        base_url = os.environ.get("ANTHROPIC_BASE_URL")
        yield {"anthropic_api_key": key, "anthropic_base_url": base_url}
        return
    async with StubModel() as stub:
        yield {"anthropic_api_key": "no-key-is-needed", "anthropic_base_url": stub.url}


if __name__ == "__main__":
    trio.run(main, " ".join(sys.argv[1:]) or "How are you?")
