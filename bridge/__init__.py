"""The bridge: the program inside a sandbox that runs one agent engine for the daemon."""
