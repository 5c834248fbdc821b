"""Imports keep to the contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# In a process of its own: it sets up logging.
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_imports_keep_their_layers():
    """Each module has a layer, imports only what is below it, and is in no circle."""
    command = [sys.executable, "-c", LINT, "--no-cache", "--no-logo"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
