"""Our own code that runs in a sandbox, found by where it lies: docs/decisions/0016-bridge.md.

Never by name: on this process's path a module `bridge` may be anybody's.
"""

from pathlib import Path

import ash

ASH = Path(ash.__file__).parent

# Installed from a wheel it lies below the package, where nobody else's can; in a checkout beside.
_INSTALLED = ASH / "inside" / "bridge"
BRIDGE = _INSTALLED if _INSTALLED.is_dir() else ASH.parent / "bridge"

# For a Python without isolation: ours come before whatever else it finds.
PYTHON_PATH = ":".join(dict.fromkeys([str(BRIDGE.parent), str(ASH.parent)]))
