import pytest

from ash.folder_check import Surroundings, check_folder


@pytest.fixture
def check(tmp_path):
    """Writes the files into a folder; returns what the check says of it, as texts."""

    def run(files, **around):
        for path, content in {"CLAUDE.md": "You help.", **files}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            if content[:2] in {"#!", b"#!"}:
                file.chmod(0o755)
        found = check_folder(tmp_path, Surroundings(**around))
        return [f"{finding.severity} {finding}" for finding in found]

    return run
