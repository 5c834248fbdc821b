"""Runs inside the sandbox: drives one agent engine for the daemon."""
