"""Changes the code at random, a little at a time, and tells which changes no test notices.

    .venv/bin/python tools/mutate.py --minutes 10 --seed 7 --module ash/sessions/turn.py

Works in copies of the tree. A change that lives is a test that is missing, unless it changes
nothing that anybody could see: such a one gets a line in equivalent_mutations.txt.
"""

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import venv
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parent.parent

# The core: what must not break.
MODULES = (
    "ash/protocol.py",
    "ash/events.py",
    "ash/lifecycle.py",
    "ash/sessions/turn.py",
    "ash/sessions/turn_reader.py",
    "ash/sessions/live_session.py",
    "ash/sessions/session_row.py",
    "ash/sessions/frame_ring.py",
    "ash/sessions/watch.py",
    "ash/pool/*.py",
    "ash/store/history.py",
    "ash/store/writer.py",
    "ash/store/sqlite.py",
    "ash/http/server/*.py",
    "ash/egress/policy.py",
    "ash/agent_files/*.py",
    "ash/workspaces/safe_open.py",
    "ash/workspaces/files.py",
    "ash/requests/*.py",
    "bridge/engine_worker.py",
    "bridge/worker_answers.py",
    "bridge/raw_lines.py",
)

# Tests that belong to modules which they do not import by name.
ALSO = {
    "ash/protocol.py": ("tests/test_protocol.py", "tests/sandbox/test_link.py"),
    "ash/agent_files/": ("tests/agent_files",),
    "ash/sessions/": ("tests/sessions",),
    "ash/pool/": ("tests/pool", "tests/sessions/test_lifecycle.py"),
    "ash/store/": ("tests/store",),
    "ash/http/server/": ("tests/http",),
    "ash/requests/": ("tests/requests", "tests/http/test_front.py"),
    "ash/workspaces/": ("tests/workspaces",),
    "bridge/": ("tests/bridge",),
}

# Whole daemons, command lines and kernels: too slow to be run for each change.
SLOW_FOLDERS = (
    "daemon",
    "cli",
    "escape",
    "limits",
    "isolation",
    "embedded",
    "client",
    "conformance",
)
WHOLE_DAEMON = "tests.support.daemon"
# What is slower, and what is more than this in all, runs only if nothing else has noticed.
SLOW_SECONDS = 2.0
SECONDS_A_CHANGE = 20.0


def test_files(path: str, tests: dict[str, set[str]]) -> list[str]:
    """The tests of a module: those named like it first, then those that import it."""
    module = path.removesuffix(".py").replace("/", ".")
    own = [each for each, imported in tests.items() if module in imported]
    for start, others in ALSO.items():
        if path.startswith(start):
            own += [each for each in tests for other in others if each.startswith(other)]
    words = set(Path(path).stem.split("_"))
    likeness = {each: -len(words & set(Path(each).stem.split("_"))) for each in own}
    return sorted(likeness, key=lambda each: likeness[each])


def imports_of_tests() -> dict[str, set[str]]:
    """Each quick test file with the modules that it imports, by its conftest and support too."""
    found = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        if not set(SLOW_FOLDERS) & set(file.parts):
            imported = _imports(file) | _imports(file.parent / "conftest.py")
            if WHOLE_DAEMON not in imported:
                found[str(file.relative_to(ROOT))] = imported
    return found


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())) if file.exists() else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


class Copy:
    """A copy of the tree, and a process in it that runs tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tree = folder / "tree"
        _copy_tree(self._tree)
        python = _python_for(folder, self._tree)
        command = [*_walls(folder), str(python), str(self._tree / "tools" / "mutation_worker.py")]
        env = {**os.environ, "PYTHONPATH": str(self._tree), "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()
        self._worker = subprocess.Popen(
            command,
            cwd=self._tree,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, files: list[str], chosen: list[str] | None, limit: float, **job: str) -> Any:
        job = {"files": files, "chosen": chosen, "limit": limit, **job}
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(json.dumps(job) + "\n")
        self._worker.stdin.flush()
        return json.loads(self._worker.stdout.readline())

    def log(self) -> str:
        return (self._tree / "log.txt").read_text()

    def close(self) -> None:
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        self._worker.wait()


def _copy_tree(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    # By its hash: a change within a second, of the same length, must not run as the original.
    compile_all = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*compile_all, tree / "ash", tree / "bridge"], check=True)


def _python_for(folder: Path, tree: Path) -> Path:
    """Has our packages, and the copy in place of the tree: whatever the tests start has it too."""
    venv.create(folder / "venv", symlinks=True)
    inside = sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})
    paths = f"{tree}\n{sysconfig.get_path('purelib')}\n"
    (Path(inside) / "copy.pth").write_text(paths)
    return folder / "venv" / "bin" / "python"


def _walls(folder: Path) -> list[str]:
    """A mutant that removes or kills something removes and kills nothing of ours."""
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        return []
    mounts = [
        "--ro-bind",
        "/",
        "/",
        "--dev-bind",
        "/dev",
        "/dev",
        "--bind",
        str(folder),
        str(folder),
    ]
    return [
        "bwrap",
        *mounts,
        "--proc",
        "/proc",
        "--unshare-pid",
        "--die-with-parent",
        "--cap-add",
        "ALL",
    ]


class Run:
    """Shares the mutations out among copies until the time is over."""

    def __init__(self, plan: list[Mutation], tests: dict[str, set[str]], deadline: float) -> None:
        self._plan = iter(plan)
        self._files = {path: test_files(path, tests) for path in {each.path for each in plan}}
        # Read once: the tree may be worked on meanwhile.
        self._sources = {path: (ROOT / path).read_bytes() for path in self._files}
        self._deadline = deadline
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self.sound = True
        self.killed = 0
        self.lived: list[Mutation] = []

    def measure(self, copy: Copy, share: int, of: int) -> None:
        """Runs this share of the tests once, unchanged."""
        files = sorted({file for files in self._files.values() for file in files})[share::of]
        told = copy.run(files, None, 900)
        if told["code"] != 0:
            sys.stdout.write(copy.log()[-4000:])
            self.sound = False
        self._seconds |= told["seconds"]

    def work(self, copy: Copy) -> None:
        while time.monotonic() < self._deadline:
            with self._lock:
                mutation = next(self._plan, None)
            if mutation is None:
                return
            self._try(copy, mutation)

    def _try(self, copy: Copy, mutation: Mutation) -> None:
        source = mutation.applied(self._sources[mutation.path]).decode()
        files = self._files[mutation.path]
        chosen, rest = self._chosen(files)
        lives = all(
            copy.run(files, names, 5 * SECONDS_A_CHANGE, path=mutation.path, source=source)["code"]
            == 0
            for names in (chosen, rest)
            if names
        )
        with self._lock:
            if lives:
                self.lived.append(mutation)
                show(mutation, self._sources[mutation.path])
            else:
                self.killed += 1

    def _chosen(self, files: list[str]) -> tuple[list[str], list[str]]:
        """The tests that are run first, and those that are run if none of these notices."""
        chosen, rest, left = [], [], SECONDS_A_CHANGE
        for file in files:
            for name, seconds in self._seconds.items():
                if name.startswith(f"{file}::") and seconds <= min(left, SLOW_SECONDS):
                    left -= seconds
                    chosen.append(name)
                elif name.startswith(f"{file}::"):
                    rest.append(name)
        return chosen, rest


def show(mutation: Mutation, source: bytes) -> None:
    before, after = source.decode(), mutation.applied(source).decode()
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    changed = "\n".join(line for line in list(lines)[3:])
    sys.stdout.write(f"\nlived: {mutation.key}\n{mutation.path}:{mutation.line}\n{changed}\n")
    sys.stdout.flush()


def equivalent() -> set[str]:
    text = (ROOT / "tools" / "equivalent_mutations.txt").read_text()
    return {line.partition("  # ")[0] for line in text.splitlines() if "  # " in line}


def planned(wanted: list[str], seed: int) -> list[Mutation]:
    """All mutations of the wanted modules, in the seed's order; those known as equivalent not."""
    paths = [str(each.relative_to(ROOT)) for each in sorted(ROOT.rglob("*.py"))]
    chosen = [path for path in paths if any(fnmatch(path, pattern) for pattern in wanted)]
    known = equivalent()
    found = [each for path in chosen for each in mutations(path, (ROOT / path).read_bytes())]
    plan = [each for each in found if each.key not in known]
    random.Random(seed).shuffle(plan)
    return plan


def each(act: Callable[..., None], calls: list[tuple[Any, ...]]) -> None:
    """Makes the calls at the same time."""
    threads = [threading.Thread(target=act, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--module", action="append", help="a path or pattern; the core if not given"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    began = time.monotonic()
    plan = planned(given.module or list(MODULES), given.seed)
    sys.stdout.write(f"seed {given.seed}: {len(plan)} changes are possible\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="m-") as folder:
        copies = [Copy(Path(folder) / str(number)) for number in range(given.jobs)]
        run = Run(plan, imports_of_tests(), began + 60 * given.minutes)
        each(run.measure, [(copy, number, len(copies)) for number, copy in enumerate(copies)])
        if run.sound:
            each(run.work, [(copy,) for copy in copies])
        for copy in copies:
            copy.close()
    if not run.sound:
        sys.exit("The tests fail without any change")
    tried = run.killed + len(run.lived)
    share = run.killed / max(tried, 1)
    sys.stdout.write(f"\nseed {given.seed}: {run.killed} of {tried} were noticed, {share:.1%}\n")


if __name__ == "__main__":
    main()
