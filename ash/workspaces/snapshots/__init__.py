"""Generations of files, packed, kept elsewhere, and brought back.

Everything heavy is done by a process of its own, `python -m ash.workspaces.snapshots`.
"""
