"""The package where the system is not POSIX: a Python without what Windows has not, see `without_posix`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inceptions.system import SharedMemory, death, open_shared_memory, peak_memory
from tests.test_project import FILES, module_name
from tests.tiny import write_images

TINY = "--model bn_inception --width 0.05 --depth 0.2 --stem small --img-size 32 --epochs 1 --batch-size 8 --crop none"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, where POSIX's modules and names are absent."""
    paths = [Path(__file__).with_name("without_posix"), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in paths if str(path))}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )


def test_the_stand_in_hides_what_it_says() -> None:
    code = "import inceptions.system as s; print(hasattr(s.os, 'memfd_create'), hasattr(s.signal, 'SIGKILL'))"
    assert run("-c", code).stdout.split() == ["False", "False"]
    assert run("-c", "import os; print(hasattr(os, 'fork'))").stdout.split() == [str(hasattr(os, "fork"))]


def test_every_module_imports_without_posix() -> None:
    names = [module_name(file) for file in FILES if file.name != "__main__.py"]
    done = run("-c", f"import importlib\nfor name in {names}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr


def test_train_val_predict_and_export_work_without_posix(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", train=6, val=3)
    commands = [
        ["train", data, *TINY.split(), "--workers", "2", "--output", tmp_path / "run"],
        ["val", tmp_path / "run", "--workers", "2"],
        ["predict", tmp_path / "run", data / "val", "--output", tmp_path / "answers.csv", "--workers", "2"],
        ["export", tmp_path / "run", "--format", "onnx", "--output", tmp_path / "export"],
        ["doctor"],
    ]
    for command in commands:
        done = run("-m", "inceptions", *command)
        assert done.returncode == 0, f"{command[0]}: {done.stderr}"
        assert "Traceback" not in done.stderr
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1 + 9


@pytest.mark.parametrize("memfd", [True, False], ids=["memfd", "file"])
def test_shared_memory_is_seen_by_who_opens_it_and_leaves_nothing(
    memfd: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memfd_create")
    with SharedMemory(4096) as shared:
        other = open_shared_memory(shared.name, 4096)
        shared.memory[10:14] = b"here"
        assert other[10:14] == b"here"
        other.close()
    shared.give_back()
    shared.close()
    assert list(tmp_path.iterdir()) == []


def test_a_death_is_told_by_its_signal() -> None:
    assert death(3) == ("ended with code 3", False)
    assert death(-15) == ("was killed by SIGTERM", False)


def test_peak_memory_is_what_a_python_with_torch_needs() -> None:
    assert 10e6 < peak_memory() < 1e12
