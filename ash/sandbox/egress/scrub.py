"""Keeps secrets out of bytes that go into a sandbox, wherever their chunks are cut."""

from collections.abc import Sequence

# What is shorter is no secret, and might be a word of the answer.
MIN_SECRET = 8


class Scrub:
    """Puts asterisks, as many as there are bytes, in place of each secret.

    Sans-IO: feed it the chunks, and take the rest at the end. Bytes are held back where a
    secret might begin, by two rules that do not look at the secrets: up to the last line feed
    nothing is, as no secret has one, and after it as much as the longest secret is long. Else
    who sees how the chunks are cut could find out the secrets byte by byte.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = sorted((s for s in secrets if len(s) >= MIN_SECRET), key=len, reverse=True)
        self._hold = max(map(len, self._secrets), default=1) - 1
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        data = self.whole(self._held + chunk)
        cut = max(data.rfind(b"\n") + 1, len(data) - self._hold)
        self._held = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        rest, self._held = self._held, b""
        return rest

    def whole(self, data: bytes) -> bytes:
        """All of something that comes in one piece."""
        for secret in self._secrets:
            data = data.replace(secret, b"*" * len(secret))
        return data
