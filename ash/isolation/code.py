"""Where our own code is that runs in a sandbox. See docs/decisions/0016-bridge.md.

`import bridge` could find somebody else's module, so the path of `ash` leads to the folder.
"""

from pathlib import Path

import ash

ASH = Path(ash.__file__).parent

# A wheel has it below the package, a checkout beside the package.
_INSTALLED = ASH / "inside" / "bridge"
BRIDGE = _INSTALLED if _INSTALLED.is_dir() else ASH.parent / "bridge"

# PYTHONPATH without isolation. It comes before site-packages, where a foreign `bridge` may be.
PYTHON_PATH = ":".join(dict.fromkeys([str(BRIDGE.parent), str(ASH.parent)]))
