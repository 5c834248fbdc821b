from ash.folder_check.finding import FileReport, Report
from ash.folder_check.folder import Folder
from ash.folder_check.json_tree import JsonFault, Node, parse

# Nobody writes larger settings, and reading them takes a second.
_MAX_BYTES = 1024 * 1024
_MARK = "\ufeff"


def read_object(
    folder: Folder, path: str, report: Report, *, lost: str
) -> tuple[Node, FileReport] | None:
    """The JSON object in a file; None if it is missing, or if it is none and that is reported.

    `lost` says what the CLI loses if it can't read the file.
    """
    text = folder.text(path, report, _MAX_BYTES)
    if text is None:
        return None
    if text.startswith(_MARK):
        text = text.removeprefix(_MARK)
        FileReport(report, path, text).warning(
            0, "begins with a byte order mark, which JSON does not have; save it without"
        )
    about = FileReport(report, path, text)
    if not text.strip():
        about.warning(0, "the file is empty")
        return None
    try:
        node = parse(text)
    except JsonFault as fault:
        about.error(fault.at, f"{fault.text}; {lost}")
        return None
    if not isinstance(node.value, dict):
        about.error(node.at, f"an object is expected, not {node.kind}; {lost}")
        return None
    _report_repeated(node, about)
    return node, about


def _report_repeated(node: Node, about: FileReport) -> None:
    for at, name in node.repeated:
        about.error(at, f'"{name}" stands here again; the CLI would use the last one alone')
    for child in [*node.members.values(), *node.items]:
        _report_repeated(child, about)
