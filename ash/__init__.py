"""Turns a folder into a production API.

Kept empty of imports: the bridge imports `ash.protocol` inside every sandbox, and its start
is on the way to the first answer.
"""

__version__ = "0.1.0"
