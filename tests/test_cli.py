"""The frame of the command line: what is imported, how it fails, what it prints."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import io
import json
import logging
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import pytest
from cyclopts import Parameter

import inceptions.cli
from inceptions.cli import VERBS, doctor, main
from inceptions.cli.terminal import plain, print_json, table
from inceptions.errors import DataError, GateError, RunError
from inceptions.image import VARIABLE, max_pixels
from inceptions.progress import log

PYTHON = [sys.executable, "-W", "error"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of a planted verb."""

    epochs: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"epochs is {self.epochs}; allowed is 0 or more")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Adds a function to the table as the verb `planted`."""

    def planted(function: Callable[..., object]) -> None:
        module = ModuleType("planted")
        module.__dict__["planted"] = function
        monkeypatch.setitem(sys.modules, "planted", module)
        monkeypatch.setitem(VERBS, "planted", ("planted:planted", "A verb of a test."))

    return planted


def in_process(code: str, *, until: str, then: Callable[[subprocess.Popen[str]], None]) -> subprocess.Popen[str]:
    """Runs `code` as a verb in a process of its own, waits for `until` on its stdout and does `then` to it."""
    script = f"""import sys
{textwrap.dedent(code)}
import inceptions.cli as cli
sys.modules["planted"] = sys.modules["__main__"]
cli.VERBS["planted"] = ("planted:planted", "")
sys.exit(cli.main(["planted"]))"""
    process = subprocess.Popen(
        [*PYTHON, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == until
    then(process)
    return process


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verbs_line_of_help_is_the_first_line_of_its_docstring(verb: str) -> None:
    path, line = VERBS[verb]
    module, _, name = path.partition(":")
    documented = inspect.getdoc(getattr(importlib.import_module(module), name))
    assert documented is not None
    assert line == documented.splitlines()[0]


def test_every_module_of_a_verb_is_in_the_table() -> None:
    modules = {f"inceptions.cli.{module.name}" for module in pkgutil.iter_modules(inceptions.cli.__path__)}
    listed = {path.partition(":")[0] for path, _ in VERBS.values()}
    assert modules - {"inceptions.cli.terminal"} == listed


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = "import sys, inceptions.cli; inceptions.cli.main(['--help']); print(*sys.modules)"
    done = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.splitlines()
    assert all(any(line.startswith(f"  {verb} ") and VERBS[verb][1] in line for line in shown) for verb in VERBS)
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert not loaded & {"torch", "numpy", "PIL", "rich", "cyclopts", "matplotlib", "captum", "yaml"}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_answers_help_on_stdout(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr()
    assert VERBS[verb][1].rstrip(".") in " ".join(shown.out.split())
    assert shown.err == ""


def test_without_a_verb_the_overview_goes_to_stderr_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "models" in shown.err


def test_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"inceptions {importlib.metadata.version('inceptions')}\n"


def test_an_unknown_verb_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modles"]) == 2
    assert "did you mean `inceptions models`?" in capsys.readouterr().err


def test_a_verb_of_two_words_is_found_and_its_first_word_alone_lists_the_family(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, plant: Callable[..., None]
) -> None:
    plant(lambda: 7)
    monkeypatch.setitem(VERBS, "plot curve", ("planted:planted", "Draw a curve."))
    monkeypatch.setitem(VERBS, "plot bars", ("planted:planted", "Draw bars."))
    assert main(["plot", "curve"]) == 7
    assert main(["plot", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "plot curve  Draw a curve." in shown
    assert "models" not in shown
    assert main(["plot"]) == 2
    assert main(["plot", "curves"]) == 2
    assert "did you mean `inceptions plot curve`?" in capsys.readouterr().err


def test_a_wrong_flag_is_named_with_the_nearest_and_the_way_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--jsn"]) == 2
    said = capsys.readouterr().err
    assert "--jsn" in said
    assert "--json" in said
    assert "`inceptions models --help`" in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("two images are broken"), 3, "two images are broken"),
        (GateError("top1 0.8 is below 0.9"), 4, "top1 0.8 is below 0.9"),
        (RunError("the loss is not finite"), 1, "the loss is not finite"),
        (ValueError("width is 0; allowed is more than 0"), 2, "width is 0; allowed is more than 0"),
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), 1, "a.jpg: No such file or directory"),
        (ModuleNotFoundError("No module named 'x'", name="x"), 1, "the package 'x' is not installed"),
        (RuntimeError("deep inside"), 1, "RuntimeError: deep inside"),
    ],
)
def test_an_error_becomes_one_message_and_its_exit_code(
    error: Exception, code: int, said: str, plant: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    plant(fail)
    assert main(["planted"]) == code
    shown = capsys.readouterr()
    assert f"error: {said}" in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_config_that_refuses_its_values_is_wrong_usage(
    plant: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def verb(config: Annotated[Config | None, Parameter(name="*")] = None) -> int:
        return (config or Config()).epochs

    plant(verb)
    assert main(["planted", "--epochs", "5"]) == 5
    assert main(["planted", "--epochs", "-1"]) == 2
    assert "epochs is -1; allowed is 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["flag", "environment"])
def test_debug_shows_the_traceback(
    asked: str, plant: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise DataError("broken")

    plant(fail)
    if asked == "environment":
        monkeypatch.setenv("INCEPTIONS_DEBUG", "1")
    assert main(["planted", "--debug"] if asked == "flag" else ["planted"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_verbose_lets_the_log_say_more(plant: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def talk() -> None:
        log.info("read 10 images")
        log.debug("with 2 workers")
        log.warning("one is \x1b[31mred\nand long")

    plant(talk)
    main(["planted"])
    assert capsys.readouterr().err == "read 10 images\nwarning: one is \\x1b[31mred\nand long\n"
    main(["planted", "-v"])
    assert "with 2 workers" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--max-megapixels", "0.25"], ["--max-megapixels=0.25"]])
def test_the_limit_of_pixels_holds_for_every_command_and_ends_with_it(
    words: list[str], plant: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(path: str) -> None:
        print(path, max_pixels(), os.environ[VARIABLE])

    plant(limit)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["planted", *words, "file"]) == 0
    assert capsys.readouterr().out == "file 250000 0.25\n"
    assert VARIABLE not in os.environ
    assert main(["planted", "file", "--max-megapixels"]) == 2
    assert "--max-megapixels is ''; a positive number of megapixels expected" in capsys.readouterr().err


def test_words_after_two_dashes_are_never_taken_for_flags_of_the_frame(
    plant: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def files(*paths: str) -> None:
        print(*paths)

    plant(files)
    assert main(["planted", "--", "--debug", "-v"]) == 0
    assert capsys.readouterr().out == "--debug -v\n"


def test_sigterm_unwinds_and_ends_with_143() -> None:
    code = """
    import time
    def planted():
        try:
            print("running", flush=True)
            time.sleep(60)
        finally:
            print("saved", flush=True)
    """
    process = in_process(code, until="running", then=lambda process: process.send_signal(signal.SIGTERM))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "saved\n", "")


def test_control_c_ends_with_130_and_no_traceback() -> None:
    code = """
    import time
    def planted():
        print("running", flush=True)
        time.sleep(60)
    """
    process = in_process(code, until="running", then=lambda process: process.send_signal(signal.SIGINT))
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "stopped\n")


@pytest.mark.parametrize("write", ["print('more ' * 1000)", "cli.terminal.table([['cell ' * 1000]], ['head'])"])
def test_a_reader_that_leaves_early_is_no_error(write: str) -> None:
    code = f"""
    import inceptions.cli.terminal, inceptions.cli as cli
    def planted():
        print("first", flush=True)
        while True:
            {write}
    """
    process = in_process(code, until="first", then=lambda process: process.stdout.close())  # type: ignore[union-attr]
    assert process.stderr is not None
    assert (process.wait(timeout=30), process.stderr.read()) == (141, "")
    process.stderr.close()


def test_a_table_in_a_pipe_keeps_long_cells_whole_and_aligns_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    table([("a" * 300, 1234567), ("b", 5)], ("name", "parameters"))
    head, _, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "parameters"]
    assert "a" * 300 in first
    assert first.endswith(" 1,234,567")
    assert len(first) == len(second)


def test_no_text_can_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table([("\x1b[2J\nred[bold]",)], ("file",))
    assert "\\x1b[2J\\nred[bold]" in capsys.readouterr().out
    assert plain("猫 é") == "猫 é"


def test_json_is_valid_whatever_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    print_json({"loss": float("nan"), "n": np.int64(3), "file": Path("a/b"), "rows": (np.float32(0.5), None, True)})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "n": 3, "file": "a/b", "rows": [0.5, None, True]}
    with pytest.raises(TypeError, match="object"):
        print_json(object())


def test_json_survives_a_stdout_that_is_not_utf_8() -> None:
    code = "from inceptions.cli.terminal import print_json; print_json({'label': '猫 é'})"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*PYTHON, "-c", code], capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout) == {"label": "猫 é"}


@pytest.fixture(scope="module")
def family() -> list[dict[str, Any]]:
    """What `inceptions models --json` prints."""
    with redirect_stdout(io.StringIO()) as out:
        assert main(["models", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(out.getvalue())
    return rows


def test_models_lists_the_published_sizes(family: list[dict[str, Any]]) -> None:
    rows = {row["name"]: row for row in family}
    published = {"inception_v3": 23_834_568, "inception_v4": 42_679_816, "xception": 22_855_952}
    assert {name: rows[name]["parameters"] for name in published} == published
    # timm's table of results, in billions
    billions = {"inception_v3": 5.73, "inception_v4": 12.28, "inception_resnet_v2": 13.18, "xception": 8.40}
    assert {name: rows[name]["multiply_adds"] / 1e9 for name in billions} == pytest.approx(billions, rel=0.01)
    assert rows["bn_inception"]["aliases"] == ["inception_v2"]


def test_models_prints_the_same_facts_as_its_json(
    family: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for row in family:
        (line,) = [line for line in lines if line.split()[:1] == [row["name"]]]
        assert line.split() == [
            *(row["name"], row["generation"], row["paper"], str(row["year"])),
            *(f"{row['parameters']:,}", f"{row['multiply_adds']:,}", str(row["input_size"])),
        ]


def test_doctor_tells_versions_processor_and_space(capsys: pytest.CaptureFixture[str]) -> None:

    from inceptions.engines.processor import processor

    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    versions = {row["package"]: row["version"] for row in facts["packages"]}
    installed = importlib.metadata.version("torch")  # `torch.__version__` may add the kind of build: 2.13.0+cu130
    assert versions["torch"] == installed
    assert 0 < facts["processor"]["usable_cores"] <= facts["processor"]["cores"]
    assert facts["processor"]["instruction_set"] == processor().instruction_set
    assert facts["space"]["disk_free"] > 0
    pays = {(row["engine"], row["precision"]): row["pays"] for row in facts["precisions"]}
    assert pays["torch", "float32"]
    assert pays["torch", "bf16"] == facts["processor"]["bf16"]
    assert main(["doctor"]) == 0
    assert installed in capsys.readouterr().out


def test_doctor_recognizes_a_torchvision_that_does_not_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["torchvision"] == {"state": "broken: RuntimeError: operator torchvision::nms does not exist"}
    assert any("torchvision" in line for line in facts["advice"])


def test_doctor_fails_where_a_package_is_missing_or_outside_its_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["torch>=2.11,<3", "no_such_package>=1", "numpy<1"])
    assert main(["doctor", "--json"]) == 1
    advice = json.loads(capsys.readouterr().out)["advice"]
    assert any("no_such_package is missing: pip install 'no_such_package>=1'" in line for line in advice)
    assert any("numpy is outside the range" in line for line in advice)
    assert not any(line.startswith("torch is") for line in advice)


def test_doctor_warns_of_a_full_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    little = SimpleNamespace(total=64 * 2**20, free=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: little)
    assert main(["doctor"]) == 0
    assert "less than 2 GiB of disk" in capsys.readouterr().out


def test_the_log_is_shown_once_however_often_main_runs(
    plant: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    plant(lambda: log.info("once"))
    main(["planted"])
    main(["planted"])
    assert capsys.readouterr().err == "once\nonce\n"
    assert log.level == logging.INFO
