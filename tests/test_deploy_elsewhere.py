"""Exports on other processors, in older runtimes and at other sizes than they were made at."""

# ruff: noqa: F811  (what pytest hands over has the names of the fixtures)

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inceptions.deploy import Images, check_here, export
from inceptions.engines import open_engine
from inceptions.engines.exported import ExportedEngine, digest
from inceptions.engines.probe import PROBE, read_probe, refuse_elsewhere
from inceptions.engines.processor import processor
from inceptions.errors import DataError, GateError
from inceptions.zoo import Network
from test_deploy import images, net  # noqa: F401  (fixtures)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def from_elsewhere(folder: Path) -> None:
    """Say that the proof of the export in `folder` was on another processor."""
    parity = json.loads((folder / "parity.json").read_text())
    parity["processor"]["instruction_set"] = "another"
    (folder / "parity.json").write_text(json.dumps(parity))


def test_a_proof_of_another_processor_is_repeated_once_and_refuses_what_differs(
    net: Network, images: Images, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(net, tmp_path / "out", images, format="onnx").folder
    right, calls = ExportedEngine.graph, []

    def noted(self: ExportedEngine, inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs))
        return right(self, inputs)

    monkeypatch.setattr(ExportedEngine, "graph", noted)
    ExportedEngine(folder)
    assert not calls, "the proof is of this processor"
    from_elsewhere(folder)
    ExportedEngine(folder)
    assert calls == [1] * 8
    ExportedEngine(folder)
    assert len(calls) == 8, "it is remembered"
    for file in cache.rglob("*.json"):
        file.unlink()
    monkeypatch.setattr(ExportedEngine, "graph", lambda self, inputs: right(self, inputs) * 1.01)
    for _ in range(2):
        with pytest.raises(DataError, match=r"answers differently on this processor.*differ by [\d.]+"):
            ExportedEngine(folder)
    with pytest.raises(GateError, match=r"on this processor .* differ from its original"):
        check_here(folder)


def test_a_cache_that_cannot_be_written_costs_nothing(
    net: Network, images: Images, tmp_path: Path, cache: Path
) -> None:
    folder = export(net, tmp_path / "out", images, format="onnx").folder
    from_elsewhere(folder)
    cache.write_text("no folder")
    ExportedEngine(folder)


def test_an_export_is_checked_without_its_original_unless_it_was_altered(
    net: Network, images: Images, tmp_path: Path
) -> None:
    folder = export(net, tmp_path / "out", images, format="onnx").folder
    told = check_here(folder)
    assert told["checked_on"] == processor().instruction_set
    assert 0 <= told["probe_difference"] <= told["probe_tolerance"]
    content = (folder / PROBE).read_bytes()
    (folder / PROBE).write_bytes(content + b" ")
    with pytest.raises(DataError, match="altered after the proof"):
        check_here(folder)
    (folder / PROBE).unlink()
    with pytest.raises(DataError, match="altered after the proof"):
        ExportedEngine(folder)
    parity = json.loads((folder / "parity.json").read_text())
    parity["sha256"] = digest(folder, "onnx")
    (folder / "parity.json").write_text(json.dumps(parity))
    ExportedEngine(folder)
    with pytest.raises(DataError, match="older than probes"):
        check_here(folder)


def test_an_old_int8_export_says_that_its_answers_here_are_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("there is nothing to run")

    with caplog.at_level(logging.WARNING, logger="inceptions"):
        refuse_elsewhere(tmp_path, run, {}, precision="float32", runtime="torch")
        assert not caplog.records
        refuse_elsewhere(tmp_path, run, {}, precision="int8", runtime="torch")
    assert "carries no probe" in caplog.text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_a_damaged_probe_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PROBE).write_bytes(content)
    with pytest.raises(DataError, match=r"probe\.npz"):
        read_probe(tmp_path)


@pytest.mark.parametrize(("form", "options"), [("onnx", {"dynamic_batch": False}), ("openvino", {}), ("pt2", {})])
def test_the_readmes_probe_runs_without_this_package(
    net: Network, images: Images, tmp_path: Path, form: str, options: dict[str, Any]
) -> None:
    folder = export(net, tmp_path / "out", images, format=form, **options).folder
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    assert "inceptions" not in code
    quiet = "import sys; sys.modules['openvino_telemetry'] = None\n"
    command = [sys.executable, "-c", quiet + code]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "the same"
    with np.load(folder / PROBE) as probe:
        np.savez(folder / PROBE, **{**probe, "outputs": probe["outputs"] + 1})
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(("differs by 1", "differs by 0.99"))


@pytest.mark.parametrize(("opset", "ir"), [(None, 8), (20, 9), (21, 10)])
def test_an_onnx_file_asks_for_no_newer_runtime_than_its_opset_does(
    net: Network, images: Images, tmp_path: Path, opset: int | None, ir: int
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(export(net, tmp_path / "out", images, format="onnx", opset=opset).folder / "model.onnx")
    assert [entry.version for entry in model.opset_import] == [opset or 18]
    assert model.ir_version == ir
    names = [value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)]
    assert names == ["n", "n"]
    assert not re.search(r"\bs\d+\b", str(model.graph.value_info)), "no symbol of PyTorch's is left"


def test_an_opset_that_cannot_be_written_is_refused(net: Network, images: Images, tmp_path: Path) -> None:
    for form, opset, told in (("onnx", 17, "from 18 to 23"), ("openvino", 18, "openvino has none")):
        with pytest.raises(ValueError, match=told):
            export(net, tmp_path / "out", images, format=form, opset=opset)


@pytest.mark.parametrize(("form", "with_preprocessing"), [("onnx", False), ("onnx", True), ("openvino", False)])
def test_an_export_of_any_size_answers_as_the_network_at_every_size(
    net: Network, images: Images, tmp_path: Path, form: str, with_preprocessing: bool
) -> None:
    done = export(net, tmp_path / "out", images, format=form, dynamic_size=True, with_preprocessing=with_preprocessing)
    assert [other["verdict"] for other in done.parity.sizes] == ["passed", "passed"]
    assert all(other["size"] != [32, 32] for other in done.parity.sizes)
    engine, reference = ExportedEngine(done.folder), open_engine(net, engine="torch")
    for size in ((32, 32), (33, 48), (47, 34), (64, 63)):
        inputs = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
        torch.testing.assert_close(engine(inputs).softmax(1), reference(inputs).softmax(1), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="at least"):
        engine(torch.zeros(1, 3, net.min_size - 1, 40, dtype=torch.uint8))
    assert f"H and W are {net.min_size} px or more" in (done.folder / "README.md").read_text()
    if form == "onnx":
        onnx = pytest.importorskip("onnx")
        shape = onnx.load(done.folder / "model.onnx").graph.input[0].type.tensor_type.shape
        assert [entry.dim_param or entry.dim_value for entry in shape.dim] == ["n", 3, "height", "width"]


def test_pt2_is_of_one_size(net: Network, images: Images, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pt2 is written for one size"):
        export(net, tmp_path / "out", images, format="pt2", dynamic_size=True)


def test_arithmetic_without_vnni_is_stood_in_for_by_kernels_that_saturate() -> None:
    openvino = pytest.importorskip("openvino")
    from openvino import opset14

    from inceptions.deploy.arithmetic import answering

    images = opset14.parameter([-1, 3, 4, 4], np.float32)
    graph = openvino.Model([opset14.reduce_mean(images, np.array([2, 3]), False)], [images])
    x86, vnni = processor().architecture == "x86_64", processor().has_vnni
    for target, expected in (("any", x86), ("this", x86 and not vnni)):
        with answering(graph, target, 1) as answers:
            assert answers.saturates == expected
            for count in (2, 1):
                assert np.array_equal(answers(np.full((count, 3, 4, 4), 2, np.float32)), np.full((count, 3), 2))


def test_the_search_for_accurate_8_bits_ends_in_time_with_the_best_found(
    net: Network, images: Images, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match="points of accuracy lost, -1 allowed"):
        export(net, tmp_path / "out", images, format="openvino", precision="int8", max_drop=-1.0, max_time=1e-3)
    assert not (tmp_path / "out").exists()


def test_int8_records_what_it_is_for(net: Network, images: Images, tmp_path: Path) -> None:
    done = export(net, tmp_path / "out", images, format="openvino", precision="int8", max_drop=20.0)
    block = json.loads((done.folder / "config.json").read_text())["inceptions"]["export"]
    assert block["target"] == "any"
    assert block["quantized"]
    assert (done.parity.top1_without_vnni is not None) == processor().has_vnni
    with pytest.raises(ValueError, match="one of any, this"):
        export(net, tmp_path / "x", images, format="openvino", precision="int8", target="arm")


def test_layers_that_read_8_bits_through_a_pool_or_a_concatenation_are_not_called_float() -> None:
    openvino = pytest.importorskip("openvino")
    from openvino import opset14

    from inceptions.deploy.quantize import floats

    def graph(rounded: bool) -> Any:
        images = value = opset14.parameter([1, 4, 8, 8], np.float32)
        if rounded:
            value = opset14.fake_quantize(images, *(np.float32(x) for x in (0, 1, 0, 1)), 256)
        value = opset14.max_pool(opset14.concat([value, value], 1), [1, 1], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
        layer = opset14.convolution(
            value, np.ones((2, 8, 1, 1), np.float32), [1, 1], [0, 0], [0, 0], [1, 1], name="convolution/x"
        )
        return openvino.Model([layer], [images])

    assert floats(graph(False), graph(True), ["one"]) == ()
    assert floats(graph(False), graph(False), ["one"]) == ("one",)
