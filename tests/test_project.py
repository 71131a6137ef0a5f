"""The house keeps its own rules: import order, names, sizes, documentation, packaging."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import metadata, requires
from pathlib import Path
from types import FunctionType

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "inceptions"
FILES = sorted(SOURCE.rglob("*.py"))

# A room imports only from rooms of a smaller number, and from itself.
ROOMS = {
    "system": 0,
    "errors": 1,
    "checks": 2,
    "progress": 3,
    "files": 4,
    "layers": 5,
    "image": 6,
    "zoo": 7,
    "passes": 8,
    "weights": 9,
    "engines": 10,
    "data": 11,
    "models": 12,
    "features": 13,
    "evaluation": 14,
    "training": 15,
    "recipes": 16,
    "anatomy": 17,
    "studies": 18,
    "explain": 19,
    "predict": 20,
    "deploy": 21,
    "report": 22,
    "cli": 23,
    "__main__": 24,
}
FORBIDDEN = {"utils", "util", "common", "base", "helpers", "registry", "callbacks", "types", "misc"}
LONGEST = 400  # lines


def module_name(file: Path, source: Path = SOURCE) -> str:
    parts = file.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(file: Path, source: Path = SOURCE) -> Iterator[str]:
    """The modules of the package that a file imports anywhere, relative imports resolved."""
    package = module_name(file, source).split(".")
    if file.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "inceptions")
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            target = ".".join([*start, *([node.module] if node.module else [])])
            if target == "inceptions":
                yield from (f"inceptions.{alias.name}" for alias in node.names)
            elif target.startswith("inceptions."):
                yield target


def out_of_order(files: list[Path], source: Path = SOURCE) -> list[str]:
    found = []
    for file in files:
        here = room(module_name(file, source))
        if not here:
            continue  # the package itself resolves public names from everywhere, lazily
        for target in imports(file, source):
            there = room(target)
            if there != "__version__" and ROOMS.get(there, 99) > ROOMS[here]:
                found.append(f"{file.relative_to(source)} imports {target}")
    return found


def test_every_file_lives_in_a_room_of_the_plan() -> None:
    assert {room(module_name(file)) for file in FILES} - {""} <= set(ROOMS)


def test_a_room_imports_only_from_rooms_before_it() -> None:
    assert out_of_order(FILES) == []


@pytest.mark.parametrize(
    "line",
    [
        "from inceptions.training import train",
        "import inceptions.training.loop",
        "from inceptions import cli",
        "from ..predict import load",
        "from .. import serve",
        "def late():\n    from inceptions.deploy.quantize import int8",
    ],
)
def test_an_import_from_a_later_room_is_found(line: str, tmp_path: Path) -> None:
    source = tmp_path / "inceptions"
    planted = source / "data" / "folders.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(line)
    assert len(out_of_order([planted], source)) == 1


@pytest.mark.parametrize("line", ["from inceptions.image import Preprocess", "from .batches import batches"])
def test_an_import_from_an_earlier_room_or_the_same_one_is_allowed(line: str, tmp_path: Path) -> None:
    source = tmp_path / "inceptions"
    planted = source / "data" / "folders.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(line)
    assert out_of_order([planted], source) == []


def test_no_file_is_named_for_being_a_drawer() -> None:
    assert not {file.stem for file in FILES} & FORBIDDEN
    assert not {folder.name for file in FILES for folder in file.relative_to(SOURCE).parents} & FORBIDDEN


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_file_is_too_long_to_read(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_every_public_thing_is_documented(file: Path) -> None:
    """A method that overrides a documented one, or one of its room's protocols, has that one's documentation."""
    assert ast.get_docstring(ast.parse(file.read_text())), "the file says nothing about itself"
    promised = protocols(room(module_name(file)))
    things = public(file)
    methods = [
        method
        for owner in things
        if isinstance(owner, type)
        for name, method in inspect.getmembers(owner, inspect.isfunction)
        if name in vars(owner) and name not in promised and not name.startswith("_")
    ]
    assert [thing.__qualname__ for thing in [*things, *methods] if not inspect.getdoc(thing)] == []


def public(file: Path) -> list[FunctionType | type]:
    """The functions and classes that a file defines for others."""
    module = importlib.import_module(module_name(file))
    return [
        thing
        for name, thing in vars(module).items()
        if isinstance(thing, FunctionType | type) and thing.__module__ == module.__name__ and not name.startswith("_")
    ]


@functools.cache
def protocols(name: str) -> set[str]:
    """The methods that the protocols of a room document for whoever fulfils them."""
    things = [thing for file in FILES if room(module_name(file)) == name for thing in public(file)]
    promises = [thing for thing in things if getattr(thing, "_is_protocol", False)]
    return {name for thing in promises for name, method in vars(thing).items() if inspect.getdoc(method)}


def test_the_readme_gives_each_room_a_line_in_their_order() -> None:
    listed = re.findall(r"^\| `(\w+(?:\.py|/))` \| \S", (ROOT / "README.md").read_text(), re.MULTILINE)
    parts = {file.relative_to(SOURCE).parts for file in FILES}
    here = {f"{first}{'/' if rest else ''}" for first, *rest in parts}
    order = {"__init__": -1, **ROOMS}
    assert listed == sorted(here, key=lambda name: order[name.removesuffix(".py").removesuffix("/")])


def test_no_module_imports_torchvision(tmp_path: Path) -> None:
    """A torchvision that raises lies first on the path: importing everything we have must not touch it."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('torchvision was imported')")
    names = [module_name(file) for file in FILES if file.name != "__main__.py"]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "assert 'torchvision' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_no_dependency_asks_for_torchvision() -> None:
    seen: set[str] = set()
    waiting = ["inceptions"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for line in requires(name) or []:
            wanted, _, marker = line.partition(";")
            match = re.match(r"[\w.-]+", wanted)
            assert match is not None
            if "extra ==" not in marker and match[0] not in seen and installed(match[0]):
                waiting.append(match[0])
    assert {"torch", "captum"} <= seen
    assert "torchvision" not in {name.lower() for name in seen}


MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn", "pillow-heif": "pillow_heif"}
"""What a distribution is imported as, where that is not its name."""
TOOLS = {"mypy", "ruff", "pytest-xdist", "types-PyYAML", "setuptools", "inceptions"}
"""What is run and not imported."""


def test_nothing_is_a_dependency_that_nobody_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    names = {re.match(r"[\w.-]+", line)[0] for line in asked} - TOOLS  # type: ignore[index]
    folders = (SOURCE, ROOT / "tests", ROOT / "examples", ROOT / "docs")
    text = "\n".join(file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    imported |= set(re.findall(r"(?:importorskip|find_spec|import_module)\(\"(\w+)", text))
    assert {name for name in names if MODULES.get(name, name) not in imported} == set()


def installed(name: str) -> bool:
    try:
        metadata(name)
    except ModuleNotFoundError:
        return False
    return True


def test_the_package_offers_the_extras_of_the_plan() -> None:
    assert set(metadata("inceptions").get_all("Provides-Extra") or []) == {
        *("deploy", "data", "heif", "demo", "dev", "all"),
    }


def test_constraints_name_one_version_of_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(line for name, lines in extras.items() if name != "all" for line in lines),
    ]
    pinned = dict(
        line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    names = {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in wanted}  # type: ignore[index]
    assert names <= set(pinned)
    assert pinned["torch"] == "2.13.0"
    assert "torchvision" not in pinned


def test_public_names_resolve_and_importing_the_package_is_free() -> None:
    code = """
import sys, inceptions
assert not {"torch", "numpy", "PIL"} & set(sys.modules)
for name in inceptions.__all__: getattr(inceptions, name)
assert set(inceptions.__all__) <= set(dir(inceptions))
from inceptions.training import TrainConfig
import inceptions.training.config
assert inceptions.training.config.TrainConfig is TrainConfig
assert callable(inceptions.train) and callable(inceptions.evaluate)
assert inceptions.TrainConfig is TrainConfig
try: inceptions.no_such_name
except AttributeError as error: assert "create_model" in str(error)
else: raise AssertionError
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_installs_once_into_the_environment_that_exists_and_again_when_versions_change(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> calls\n')
    python.chmod(0o755)

    def installs() -> list[str]:
        subprocess.run(["make", "install"], cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / "calls").read_text().splitlines()

    (first,) = installs()
    assert "--constraint constraints.txt --editable .[all]" in first
    assert len(installs()) == 1
    later = (tmp_path / ".venv" / "installed").stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (later, later))
    assert len(installs()) == 2


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(tmp_path: Path) -> None:
    """Setuptools leaves files behind in the folder it builds in: it gets a copy."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(SOURCE, tmp_path / "src" / "inceptions", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run([*command, "--no-index"], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert packed == {str(path.relative_to(SOURCE.parent)) for path in files}


def test_train_val_and_predict_run_beside_a_torchvision_that_does_not_import(tmp_path: Path) -> None:
    """Torchvision is pinned to one exact torch, and raises beside another; nothing of ours may notice."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    for color, name in enumerate(("dark", "light")):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (24, 24), (200 * color + i,) * 3).save(folder / f"{i}.png")
    code = """
from inceptions.cli import main
network = "--model bn_inception --width 0.125 --stem small --img-size 24"
assert main(f"train images {network} --epochs 1 -b 4 -j 0 --output run".split()) == 0
assert main(["val", "run"]) == 0
assert main(["predict", "run", "images"]) == 0
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
