"""Imports keep to the contracts in pyproject.toml."""

from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_keep_their_layers(monkeypatch, capsys):
    """Each module has a layer, imports only what is below it, and is in no circle."""
    monkeypatch.chdir(ROOT)

    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)

    assert EXIT_STATUS_SUCCESS == status, capsys.readouterr().out
