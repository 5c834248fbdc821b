from pathlib import Path

from ash.folder_check.finding import Report
from ash.folder_check.folder import Folder
from ash.folder_check.mcp import check_mcp
from ash.folder_check.prompt import check_prompt
from ash.folder_check.scripts import check_scripts
from ash.folder_check.settings import check_settings
from ash.folder_check.surroundings import Surroundings
from ash.folder_check.tools import check_tools
from ash.model import Finding


def check_folder(root: Path, around: Surroundings) -> list[Finding]:
    """All findings, errors first. Blocks, because it reads files."""
    folder, report = Folder(root), Report()
    check_prompt(folder, report)
    check_settings(folder, around, report)
    check_mcp(folder, around, report)
    check_scripts(folder, report)
    check_tools(folder, report)
    return sorted(dict.fromkeys(report.findings), key=lambda finding: finding.severity)
