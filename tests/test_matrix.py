"""The table of `make test-matrix`: which environments are made, and that a failure anywhere is one of the whole."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import matrix


def test_every_python_has_the_tested_versions_and_the_oldest_both_ends_of_the_ranges() -> None:
    found = [("/a/python3.11", "3.11.7"), ("/b/python3.12", "3.12.1")]
    assert [(row.version, row.versions) for row in matrix.combinations(found)] == [
        ("3.11.7", "tested"),
        ("3.12.1", "tested"),
        ("3.11.7", "lowest"),
        ("3.11.7", "newest"),
    ]
    assert matrix.combinations([]) == []


def test_a_command_that_is_not_there_or_does_not_run_is_no_interpreter(tmp_path: Path) -> None:
    broken = tmp_path / "python3.99"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    found = matrix.interpreters([str(broken), str(tmp_path / "absent"), sys.executable])
    assert [version for _, version in found] == ["{}.{}.{}".format(*sys.version_info)]


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ("def test_a(): pass\ndef test_b(): pass", ["2", "0", "0"]),
        ("import pytest\ndef test_a(): assert 0\ndef test_b(): pytest.skip('no')", ["0", "1", "1"]),
        ("import no_such_module", ["0", "1", "0"]),
    ],
)
def test_counts_are_those_of_the_run(body: str, numbers: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(body)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "--junitxml=report.xml",
        "-p",
        "no:cacheprovider",
        ".",
    ]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert matrix.counts(tmp_path / "report.xml")[:3] == numbers


@pytest.mark.parametrize("failing", ["install", "test", "nothing", "no python"])
def test_a_failure_anywhere_is_told_and_fails(
    failing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(row: matrix.Combination) -> Path:
        if failing == "install" and row.versions == "lowest":
            raise subprocess.CalledProcessError(1, ["uv"], stderr="no version of torch\n")
        return matrix.HOME / row.versions

    def run(folder: Path, arguments: list[str]) -> list[str]:
        return ["2.13.0", "9", "1" if failing == "test" and folder.name == "newest" else "0", "2", "34"]

    monkeypatch.setattr(matrix, "install", install)
    monkeypatch.setattr(matrix, "run", run)
    monkeypatch.setenv("PYTHONS", "no-such-python" if failing == "no python" else sys.executable)
    assert matrix.main([]) == (0 if failing == "nothing" else 1)
    told = capsys.readouterr().out
    assert ("not installed: no version of torch" in told) == (failing == "install")
    assert ("newest/tests.log" in told.replace("\\", "/")) == (failing == "test")


def test_the_pythons_that_the_package_names_are_tried() -> None:
    project = tomllib.loads((matrix.ROOT / "pyproject.toml").read_text())["project"]
    named = {line.rpartition(" :: ")[2] for line in project["classifiers"] if ":: Python :: 3." in line}
    assert named <= set(matrix.PYTHONS)
    assert min(named, key=lambda version: int(version[2:])) == project["requires-python"].removeprefix(">=")
