"""The fast tests on every Python found, with the tested, the lowest and the newest versions of what we depend on.

`make test-matrix` runs this; ARGS go to pytest. Each combination has an environment of its own under `.matrix`, which
uv installs: its settings say from where (`UV_FIND_LINKS`; `UV_TORCH_BACKEND=cpu` spares several GB). Interpreters are
those of the names `python3.11`, `python3.12`, ... on the path, or of the list `PYTHONS="/some/python3.12 ..."`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".matrix"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
COLUMNS = ("Python", "torch", "versions", "passed", "failed", "skipped", "seconds", "")


class Combination(NamedTuple):
    """One environment: an interpreter, its version, and how versions are chosen (`tested`, `lowest`, `newest`)."""

    python: str
    version: str
    versions: str


def interpreters(wanted: list[str]) -> list[tuple[str, str]]:
    """Of these commands the ones that run, each with its version, `3.12.1`."""
    code = "import sys; print(sys.executable, '{}.{}.{}'.format(*sys.version_info))"
    found = []
    for command in wanted:
        if path := shutil.which(command):  # a launcher's name may stand for a Python that is not there
            done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                executable, version = done.stdout.rsplit(maxsplit=1)
                found.append((executable, version))
    return found


def combinations(found: list[tuple[str, str]]) -> list[Combination]:
    """Every Python with the tested versions, and the oldest Python with both ends of the ranges."""
    rows = [Combination(python, version, "tested") for python, version in found]
    return rows + [row._replace(versions=ends) for row in rows[:1] for ends in ("lowest", "newest")]


def uv() -> str:
    """The command `uv`: the one on the path, or one installed beside the environments."""
    if path := shutil.which("uv"):
        return path
    own = HOME / "uv"
    if not (own / "bin" / "uv").exists():
        venv.create(own, with_pip=True)
        subprocess.run([own / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    return str(own / "bin" / "uv")


def install(row: Combination) -> Path:
    """Make the environment of a combination; its folder. Raises CalledProcessError with what uv said."""
    folder = HOME / f"{row.version}-{row.versions}"
    versions = folder / "requirements.txt"
    resolution = {"tested": ["--constraint", "constraints.txt"], "lowest": ["--resolution", "lowest-direct"]}
    compiled = ["pip", "compile", "--quiet", "--extra", "all", "pyproject.toml", "--output-file", str(versions)]
    chosen = resolution.get(row.versions, ["--upgrade"])
    for arguments in (
        ["venv", "--quiet", "--seed", "--allow-existing", "--python", row.python, str(folder)],  # tests use its pip
        [*compiled, "--python", str(folder / "bin" / "python"), *chosen],
        ["pip", "install", "--quiet", "--python", str(folder), "--requirement", str(versions), "--editable", "."],
    ):
        subprocess.run([uv(), *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return folder


def counts(report: Path) -> list[str]:
    """Passed, failed, skipped and seconds of a JUnit report."""
    suite = next(ElementTree.parse(report).iter("testsuite"))
    failed, skipped = int(suite.attrib["failures"]) + int(suite.attrib["errors"]), int(suite.attrib["skipped"])
    passed = int(suite.attrib["tests"]) - failed - skipped
    return [str(passed), str(failed), str(skipped), f"{float(suite.attrib['time']):.0f}"]


def run(folder: Path, arguments: list[str]) -> list[str]:
    """Run the tests in an environment: torch's version, then `counts`; what pytest says lies beside them."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    python = str(folder / "bin" / "python")
    code = "from importlib.metadata import version; print(version('torch'))"
    torch = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    with (folder / "tests.log").open("w") as log:
        command = [python, "-m", "pytest", f"--junitxml={report}", *arguments]
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    return [torch, *(counts(report) if report.exists() else ["", "1", "", ""])]


def table(rows: list[list[str]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main(arguments: list[str]) -> int:
    """Install and test every combination; 1 where one failed."""
    rows = [list(COLUMNS)]
    for row in combinations(interpreters(os.environ.get("PYTHONS", "").split() or [f"python{v}" for v in PYTHONS])):
        print(f"Python {row.version}, {row.versions} versions", file=sys.stderr)
        try:
            folder = install(row)
            torch, *numbers = run(folder, arguments)
            seen = str((folder / "tests.log").relative_to(ROOT)) if numbers[1] != "0" else ""
        except subprocess.CalledProcessError as error:
            torch, numbers, seen = "", ["", "1", "", ""], f"not installed: {error.stderr.strip()}"
        rows.append([row.version, torch, row.versions, *numbers, seen])
    print(table(rows))
    return int(len(rows) == 1 or any(row[4] != "0" for row in rows[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
