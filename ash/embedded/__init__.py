"""ash inside of a trio program: the tree below the script, without HTTP.

The same calls as `ash.client.AsyncAshClient`, answered by the same functions as HTTP's.
"""

from ash.embedded.library import Ash
from ash.embedded.streams import EventStream

__all__ = ["Ash", "EventStream"]
