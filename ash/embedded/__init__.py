"""ash inside a trio program: the core below the script, without HTTP.

It has the calls of `ash.client.AsyncAshClient`, from the same table. `transport` answers them with
the services that HTTP's routes call.
"""

from ash.embedded.library import Ash
from ash.embedded.streams import EmbeddedEventStream

__all__ = ["Ash", "EmbeddedEventStream"]
