"""What the routes of `lifecycle` take."""

from ash.requests.sessions import ConfigureSession, ForkSession

__all__ = ["ConfigureSession", "ForkSession"]
