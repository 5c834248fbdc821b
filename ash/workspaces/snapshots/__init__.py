"""Snapshots: packs the files of sessions and agents, uploads them, and restores them.

Packing and unpacking is done by a process of its own (worker_process.py).
"""
