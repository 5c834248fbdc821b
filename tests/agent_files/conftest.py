"""A folder as people have it, and the two ways in which it can travel."""

import pytest

from ash.agent_files.arrival import take_folder, take_sent
from ash.agent_files.sent_files import SentFile
from ash.cli.agents import upload_of


class Folder:
    """An agent's folder that a test fills."""

    def __init__(self, root):
        self.root = root
        self.write("CLAUDE.md", "be kind")

    def write(self, path, text="x", mode=0o644):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
        return file

    def link(self, path, target):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return Folder(tmp_path / "folder")


@pytest.fixture(params=["by path", "by upload"])
def arrive(request, folder, tmp_path):
    """Lets the folder travel; returns the copy, and what was said on the way."""
    copy = tmp_path / "copy"

    def by_path():
        return take_folder(folder.root, copy)

    def by_upload():
        files, said = upload_of(folder.root)
        sent = [
            SentFile(path, file.data, file.mode and int(file.mode, 8), file.link)
            for path, file in files.items()
        ]
        arrival = take_sent(sent, copy)
        arrival.warnings = list(dict.fromkeys(said + arrival.warnings))
        return arrival

    def arrive():
        arrival = by_path() if request.param == "by path" else by_upload()
        return copy, arrival

    return arrive
