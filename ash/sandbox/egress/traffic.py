from msgspec import Struct


class Traffic(Struct):
    """What went through one sandbox's proxy. Bytes are those of bodies and tunnels."""

    model_calls: int = 0
    hosts: int = 0
    turned_away: int = 0
    sent: int = 0
    received: int = 0
