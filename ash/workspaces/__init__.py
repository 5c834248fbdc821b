"""The files of sessions: their folders, access to single files, and snapshots."""
