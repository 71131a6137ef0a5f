"""Exports answer as their originals do, are refused where they do not, and run without this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.data import load
from inceptions.deploy import FORMATS, check, export, original
from inceptions.deploy.export import Images
from inceptions.deploy.graph import ImagesToLogits, ImagesToProbabilities, fold_batch_norm
from inceptions.deploy.images import made_up
from inceptions.engines import open_engine
from inceptions.engines.export_folder import read_export
from inceptions.engines.exported import ExportedEngine
from inceptions.engines.prepared import quiet
from inceptions.engines.pt2 import refuse_code
from inceptions.errors import DataError, GateError
from inceptions.image import Preprocess
from inceptions.models import open_model
from inceptions.predict import Classifier
from inceptions.predict import load as load_classifier
from inceptions.zoo import Network, build

EVERY = [(form, precision) for form, precisions in FORMATS.items() for precision in precisions]


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    net = build("xception", width=0.125, depth=0.125, num_classes=3, stem="small")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    images = torch.randn(64, 3, 32, 32)
    net.eval().head.linear.weight.data.mul_(3 / net(images).std())  # answers that differ from image to image
    net.preprocess = Preprocess(size=(32, 32), crop_pct=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    net.classes = ("ant", "bee", "wasp")
    return net.eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, net: Network) -> Images:
    """Noise of many colors, labeled by the network itself, so that its accuracy is 100 %."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(24):
        base = generator.integers(0, 256, (1, 1, 3))
        pixels = np.clip(base + generator.integers(-60, 60, (40, 40, 3)), 0, 255).astype(np.uint8)
        answer = net(net.preprocess(pixels)[None]).argmax().item()
        label = folder / (net.classes or ())[int(answer)]
        label.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(label / f"{index}.png")
    data = load(folder, val_fraction=0, classes=net.classes)
    return Images(check=data.splits["train"], name="noise")


def test_folded_batch_norm_computes_the_same() -> None:
    for name in ("inception_resnet_v2", "xception41", "bn_inception"):
        torch.manual_seed(1)
        net = build(name, width=0.125, depth=0.1, num_classes=4).eval()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.05, 1.5)  # type: ignore[union-attr]
        images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
        folded = fold_batch_norm(net.double())
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
        torch.testing.assert_close(folded(images), net(images), rtol=1e-9, atol=1e-12)


def test_preprocessing_inside_the_graph_is_the_preprocessing_outside(net: Network) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    logits = ImagesToLogits(net)(net.preprocess.normalize(images))
    expected = torch.softmax(logits / 1.7, dim=1)
    torch.testing.assert_close(ImagesToProbabilities(net, 1.7)(images), expected)


@pytest.mark.parametrize("with_preprocessing", [False, True])
@pytest.mark.parametrize(("form", "precision"), EVERY)
def test_every_export_answers_as_its_original(
    net: Network, images: Images, tmp_path: Path, form: str, precision: str, with_preprocessing: bool
) -> None:
    done = export(
        net, tmp_path / "out", images, format=form, precision=precision, with_preprocessing=with_preprocessing,
        max_drop=10.0,
    )  # fmt: skip
    written = json.loads((done.folder / "parity.json").read_text())
    assert written["verdict"] == "passed"
    assert written["n"] == 24
    assert written["top1_original"] == 1.0
    engine = ExportedEngine(done.folder)
    assert engine.export.classes == net.classes
    assert engine.precision == precision
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    reference = open_engine(net, engine="torch")(images)
    tolerance = {"float32": 1e-5, "bf16": 2e-2, "int8": 0.2}[precision]
    assert (engine(images).softmax(1) - reference.softmax(1)).abs().max() <= tolerance
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_for_single_images_takes_any_number_of_them(net: Network, images: Images, tmp_path: Path) -> None:
    done = export(net, tmp_path / "out", images, format="onnx", dynamic_batch=False)
    assert ExportedEngine(done.folder)(torch.zeros(3, 3, 32, 32, dtype=torch.uint8)).shape == (3, 3)


def test_an_onnx_file_is_one_file_that_says_what_it_is(net: Network, images: Images, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    done = export(net, tmp_path / "out", images, format="onnx")
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "parity.json",
        "probe.npz",
    ]
    model = onnx.load(done.folder / "model.onnx", load_external_data=False)
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert facts["labels"] == ["ant", "bee", "wasp"]
    assert Preprocess.from_dict(facts["preprocess"]) == net.preprocess
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


@contextmanager
def altered(file: Path, find: bytes, put: bytes) -> Iterator[None]:
    content = file.read_bytes()
    assert content.count(find) == 1
    file.write_bytes(content.replace(find, put))
    yield


def test_one_altered_weight_or_mean_fails_the_proof(net: Network, images: Images, tmp_path: Path) -> None:
    folder = export(net, tmp_path / "out", images, format="openvino").folder
    assert check(net, folder, images).verdict == "passed"
    bias = net.head.linear.bias.detach().numpy().tobytes()
    weights = folder / "model.bin"
    content = weights.read_bytes()
    row = net.head.linear.weight.detach().numpy()[0].tobytes()
    assert bias
    with altered(weights, row, (net.head.linear.weight.detach().numpy()[0] * 1.01).tobytes()):
        with pytest.raises(GateError, match="differ from the original"):
            check(net, folder, images)
        with pytest.raises(DataError, match="not proven"):
            ExportedEngine(folder)
    weights.write_bytes(content)
    assert check(net, folder, images).verdict == "passed"
    config = json.loads((folder / "config.json").read_text())
    config["inceptions"]["preprocess"]["mean"][0] = 0.41
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(GateError, match="differ from the original"):
        check(net, folder, images)


@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_an_export_that_was_altered_after_its_proof_is_not_opened(
    net: Network, images: Images, tmp_path: Path, form: str
) -> None:
    folder = export(net, tmp_path / "out", images, format=form).folder
    for file in [path for path in folder.iterdir() if path.name not in ("README.md", "parity.json")]:
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        with pytest.raises(DataError, match=r"was altered after the proof.*--check"):
            ExportedEngine(folder)
        file.write_bytes(content)
    assert ExportedEngine(folder).file_size() > 1000


def test_right_numbers_under_wrong_names_fail_the_proof(net: Network, images: Images, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = export(net, tmp_path / "out", images, format="onnx").folder
    config = folder / "config.json"
    content = config.read_text()
    swapped = json.loads(content)
    swapped["label_names"] = ["bee", "ant", "wasp"]
    swapped["inceptions"]["class_to_index"] = {"bee": 0, "ant": 1, "wasp": 2}
    config.write_text(json.dumps(swapped))
    with pytest.raises(GateError, match="names the classes"):
        check(net, folder, images)
    config.write_text(content)
    model = onnx.load(folder / "model.onnx")
    entry = next(entry for entry in model.metadata_props if entry.key == "preprocess")
    entry.value = entry.value.replace('"mean": [', '"mean": [9')
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(GateError, match="metadata gives preprocess"):
        check(net, folder, images)
    with pytest.raises(DataError, match="not proven"):
        ExportedEngine(folder)


def test_an_export_refuses_another_precision_and_a_gpu(net: Network, images: Images, tmp_path: Path) -> None:
    described = read_export(export(net, tmp_path / "out", images, format="openvino", precision="bf16").folder)
    for options, message in (
        ({"precision": "float32"}, "in bf16; float32 needs"),
        ({"device": "cuda:0"}, "on the CPU"),
    ):
        with pytest.raises(ValueError, match=message):
            open_engine(described, **options)
    assert open_engine(described).precision == open_engine(described, precision="auto").precision == "bf16"


def test_an_export_that_fails_its_proof_leaves_nothing_behind(
    net: Network, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inceptions.deploy.parity.LOGITS", {"float32": 0.0})
    with pytest.raises(GateError, match="a logit differs"):
        export(net, tmp_path / "out", images, format="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_int8_that_loses_too_much_keeps_layers_in_float(net: Network) -> None:
    """Ranges measured on images far too dim cut the real ones off: 8 bits everywhere must lose accuracy."""
    openvino = pytest.importorskip("openvino")
    from inceptions.deploy.quantize import accuracies, costly_layers, quantize_within

    torch.manual_seed(3)
    images = torch.randn(32, 3, 32, 32) + 2 * torch.randn(32, 3, 1, 1)
    module = ImagesToLogits(net)
    module.net.head.linear.bias -= module(images).median(0).values  # every class is somebody's answer
    targets = module(images).argmax(1)
    with quiet():
        program = torch.export.export(module, (images[:2],), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        graph = openvino.convert_model(program)
    layers = costly_layers(program)
    assert layers[:2] == ["body.conv1.conv", "body.conv2.conv"]
    assert layers[-1] == "head.linear"
    validation = [(images[i : i + 8], targets[i : i + 8]) for i in range(0, 32, 8)]
    dim = [0.1 * images[:8]]
    all_int8 = quantize_within(graph, dim, lambda: validation, layers, max_drop=100.0, threads=1)
    assert all_int8.kept == ()
    gated = quantize_within(graph, dim, lambda: validation, layers, max_drop=5.0, threads=1)
    assert gated.kept
    assert set(gated.kept) <= set(layers)
    everywhere, some = accuracies([all_int8.graph, gated.graph], validation, 1)
    assert everywhere < 0.9
    assert some > everywhere


def test_int8_that_loses_too_much_in_spite_of_that_is_refused(net: Network, images: Images, tmp_path: Path) -> None:
    # A gain of one point cannot be had on images that the network labeled itself.
    with pytest.raises(GateError, match="points of accuracy lost, -1 allowed"):
        export(net, tmp_path / "out", images, format="openvino", precision="int8", max_drop=-1.0, max_time=0.05)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_nonsense_is_refused(net: Network, images: Images, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        export(net, tmp_path, images, format="onnx")
    with pytest.raises(ValueError, match="one of onnx, openvino, pt2"):
        export(net, tmp_path / "x", images, format="coreml")
    with pytest.raises(ValueError, match="openvino can be"):
        export(net, tmp_path / "x", images, format="onnx", precision="int8")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_the_readmes_code_runs_without_this_package(net: Network, images: Images, tmp_path: Path, form: str) -> None:
    folder = export(net, tmp_path / "out", images, format=form).folder
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    inputs = net.preprocess.normalize(pixels)
    np.save(folder / "inputs.npy", inputs.numpy())
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    assert "inceptions" not in code[1]
    # OpenVINO's own import would reach for an analytics host.
    quiet = "import sys; sys.modules['openvino_telemetry'] = None\n"
    run = subprocess.run(
        [sys.executable, "-c", quiet + code[1]], cwd=folder, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == (net.classes or ())[int(net(inputs).argmax())]


@pytest.mark.slow
def test_the_readmes_cpp_compiles_and_answers(net: Network, images: Images, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    folder = export(net, tmp_path / "out", images, format="openvino").folder
    code = re.search(r"```cpp\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    (folder / "main.cpp").write_text(code[1])
    inputs = net.preprocess.normalize(torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8))
    (folder / "inputs.bin").write_bytes(inputs.numpy().tobytes())
    package = Path(openvino.__file__).parent
    library = next((package / "libs").glob("libopenvino.so*"))
    subprocess.run(
        ["g++", "-std=c++17", "main.cpp", "-o", "main", f"-I{package / 'include'}", str(library),
         f"-Wl,-rpath,{package / 'libs'}"],
        cwd=folder, check=True,
    )  # fmt: skip
    lines = subprocess.run(["./main"], cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    torch.testing.assert_close(torch.tensor([float(x) for x in lines]), net(inputs)[0].detach(), rtol=1e-3, atol=1e-3)


def test_archives_that_could_run_code_are_refused(net: Network, images: Images, tmp_path: Path) -> None:
    import zipfile

    file = export(net, tmp_path / "out", images, format="pt2").folder / "model.pt2"
    refuse_code(file)
    poison = {
        "holds a pickle": (b'"use_pickle": false', b'"use_pickle": true'),
        "no tensor": (b'"weight_0"', b'"custom_obj_0"'),
        "no size": (b"Symbol('", b"__import__('os').system('true') or Symbol('"),
    }
    for reason, (find, put) in poison.items():
        bad = tmp_path / "bad.pt2"
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(bad, "w") as target:
            for name in source.namelist():
                target.writestr(name, source.read(name).replace(find, put))
        with pytest.raises(DataError, match=reason):
            refuse_code(bad)
    (tmp_path / "cut.pt2").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="not readable"):
        refuse_code(tmp_path / "cut.pt2")


@pytest.mark.parametrize("with_preprocessing", [False, True])
def test_an_export_is_a_model_for_predict(
    net: Network, images: Images, tmp_path: Path, with_preprocessing: bool
) -> None:
    folder = export(
        net, tmp_path / "out", images, format="onnx", with_preprocessing=with_preprocessing
    ).folder  # fmt: skip
    files = [images.check.path(index) for index in range(5)]
    expected = Classifier(net, engine="torch").predict(files)
    found = load_classifier(folder).predict(files)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.label == theirs.label
        assert dict(ours.top_k) == pytest.approx(dict(theirs.top_k), abs=1e-5)
    with pytest.raises(ValueError, match="does not run on openvino"):
        load_classifier(folder, engine="openvino").predict(files)


def test_a_bare_network_is_the_same_each_time_and_its_activations_stay_in_bounds(tmp_path: Path) -> None:
    options = {"width": 0.05, "depth": 0.2, "stem": "small"}
    nets = [original(open_model("xception", options=options, fresh=True)).in_pytorch() for _ in range(2)]
    split = made_up(tmp_path, ())
    images = torch.stack([nets[0].preprocess(split.path(index)) for index in range(16)])
    with torch.no_grad():
        stages = list(nets[0].forward_stages(images).values())
        assert torch.equal(nets[0](images), nets[1](images))
    assert not nets[0].training
    assert max(float(stage.std()) for stage in stages) < 10, "a chain of residual blocks would double it each time"
