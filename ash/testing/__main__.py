"""`python -m ash.testing`: serves the stub model until it is interrupted."""

import argparse
import signal
import sys

import trio

from ash.testing import StubModel


async def _serve(port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with StubModel(port=port) as model:
            print(model.url, flush=True)  # noqa: T201 - the URL is this command's output
            await anext(signals)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ash.testing",
        description="A Messages API endpoint on loopback that answers by a small script.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    port = parser.parse_args().port
    try:
        trio.run(_serve, port)
    except OSError as error:
        sys.exit(f"can't listen on port {port}: {error.strerror}")


main()
