"""What an attempt is."""

from msgspec import Struct

# The file is not there, or cannot be come to.
GONE = ("ENOENT", "EACCES", "ENOTDIR")
NO = ("EPERM",)
READ_ONLY = ("EROFS", "EACCES")
MISSING = ("ENOSYS",)
# Closed to it, as if it were another user's.
SHUT = ("EACCES",)


class Attempt(Struct, frozen=True):
    """`code` is an expression for `inside.py`; `held` are the outcomes that mean it has failed.

    It may use the facts that an attacker could guess, see `conftest.py`.
    """

    name: str
    sentence: str
    code: str
    held: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def held(name: str, sentence: str, code: str, *outcomes: str) -> Attempt:
    return Attempt(name, sentence, code, outcomes)
