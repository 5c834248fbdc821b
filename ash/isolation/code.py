"""Where our own code is that runs in a sandbox. See docs/decisions/0016-bridge.md.

`import bridge` could find somebody else's module, so the path of `ash` leads to the folder.
"""

import os
import sys
from pathlib import Path

import ash

# The interpreter. Started as `../venv/bin/python` it has `..` in its path, which leads nowhere in a
# sandbox. Links are not followed: the venv is bound at `sys.prefix`, where no link was followed.
PYTHON = os.path.abspath(sys.executable)  # noqa: PTH100 - Path.resolve would follow links

ASH = Path(ash.__file__).parent

# A wheel has it below the package, a checkout beside the package.
_INSTALLED = ASH / "inside" / "bridge"
BRIDGE = _INSTALLED if _INSTALLED.is_dir() else ASH.parent / "bridge"

# PYTHONPATH without isolation. It comes before site-packages, where a foreign `bridge` may be.
PYTHON_PATH = ":".join(dict.fromkeys([str(BRIDGE.parent), str(ASH.parent)]))
