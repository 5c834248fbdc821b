"""Imports keep to the contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]

# In a process of its own: it sets up logging.
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_imports_keep_their_layers():
    """Each module has a layer, imports only what is below it, and is in no circle."""
    command = [sys.executable, "-c", LINT, "--no-cache", "--no-logo"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_package_and_its_parent_import_each_other_in_one_direction_only():
    """A package and its parent never import each other. The parent `ash` has layers instead."""
    graph = grimp.build_graph("ash", cache_dir=None)
    pairs = {
        (_package(graph, importer), _package(graph, imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }

    both_ways = {pair for pair in pairs if pair[::-1] in pairs and len(set(pair)) == 2}

    assert set() == {pair for pair in both_ways if "ash" not in pair}


def _package(graph, module):
    """The folder that holds it."""
    return module if graph.find_children(module) else module.rpartition(".")[0]
