"""`create_model` and SOURCE: whatever weights are asked for, a network comes with what its images and classes are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inceptions import create_model, list_models
from inceptions.cli import main
from inceptions.errors import DataError
from inceptions.image import Preprocess
from inceptions.weights import artifact, load_weights
from inceptions.weights.defaults import imagenet_classes
from inceptions.weights.locate import locate
from inceptions.zoo import Network, build

GOLDEN = Path(__file__).parent / "golden" / "weights"
TINY: dict[str, Any] = {"width": 0.01, "depth": 0.125}
CLASSES = ("cat", "dog", "gull")


def saved(folder: Path, **options: Any) -> tuple[Network, Path]:
    torch.manual_seed(0)
    net = build("xception", **TINY, num_classes=3, **options).eval()
    net.preprocess, net.classes = Preprocess(size=(64, 64), crop_pct=0.7), CLASSES
    artifact.save(net, folder / "model", temperature=1.5)
    return net, folder / "model"


def keras_file(folder: Path, name: str = "xception_hidden.h5") -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))
    return path


# --- without weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_without_weights_images_are_as_published(name: str) -> None:
    net = create_model(name, width=0.01)
    assert net.preprocess is not None
    assert net.preprocess.size == (net.input_size, net.input_size)
    assert net.preprocess.normalize(
        torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    ).unique().tolist() == [
        -1.0,
        1.0,
    ]
    assert net.classes is None


def test_gray_and_small_networks_get_images_of_theirs() -> None:
    gray = create_model("xception", **TINY, in_channels=1).preprocess
    assert gray is not None
    assert gray.channels == 1
    small = create_model("xception", **TINY, stem="small").preprocess
    assert small is not None
    assert small.size == (64, 64)
    assert create_model("xception", **TINY, in_channels=5).preprocess is None


def test_none_means_no_weights() -> None:
    assert create_model("xception", **TINY, weights="none").num_classes == 1000


def test_no_classes_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_classes"):
        create_model("xception", **TINY, num_classes=0)
    with pytest.raises(ValueError, match="num_classes"):
        create_model("xception", width=0.01, num_classes=0, weights=keras_file(tmp_path))


def test_imagenets_classes_are_a_thousand_different_names_in_synset_order() -> None:
    names = imagenet_classes()
    assert len(set(names)) == 1000
    assert (names[0], names[207], names[281], names[999]) == ("tench", "golden retriever", "tabby", "toilet tissue")


# --- our own artifact as SOURCE ---------------------------------------------------------------------------------------


def test_an_artifact_gives_the_very_network(tmp_path: Path) -> None:
    net, folder = saved(tmp_path)
    for source in (folder, str(folder), tmp_path):
        loaded = create_model("xception", weights=source)
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(loaded(images), net(images))
        assert (loaded.preprocess, loaded.classes, loaded.artifact["temperature"]) == (net.preprocess, CLASSES, 1.5)


def test_an_artifact_with_another_number_of_classes_keeps_its_body(tmp_path: Path) -> None:
    net, folder = saved(tmp_path)
    loaded = create_model("xception", weights=folder, num_classes=7)
    assert (loaded.num_classes, loaded.classes, loaded.artifact) == (7, None, {})
    assert torch.equal(loaded.body.conv1.conv.weight, net.body.conv1.conv.weight)
    assert loaded.preprocess == net.preprocess


def test_an_artifact_decides_its_options(tmp_path: Path) -> None:
    _, folder = saved(tmp_path, norm_eps=0.01)
    assert create_model("xception", weights=folder, width=0.01, drop_rate=0.3).head.dropout.p == 0.3
    with pytest.raises(ValueError, match=r"norm_eps=0\.1 .*0\.01.*contradicts"):
        create_model("xception", weights=folder, norm_eps=0.1)
    with pytest.raises(ValueError, match=r"width=0\.5"):
        create_model("xception", weights=folder, width=0.5)


def test_an_artifact_of_another_network_is_named(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    with pytest.raises(ValueError, match="holds xception, not inception_v3"):
        create_model("inception_v3", weights=folder)


# --- the hub's folders ------------------------------------------------------------------------------------------------


def hub_folder(folder: Path, **config: Any) -> Path:
    """As timm publishes: config.json and model.safetensors, by timm's names."""
    fixture = json.loads(gzip.decompress((GOLDEN / "torch.json.gz").read_bytes()))["xception/timm"]["tensors"]
    tensors = {name: torch.ones(shape) for name, shape in fixture.items() if not name.endswith("num_batches_tracked")}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "legacy_xception", **config}))
    return folder


TIMM = {"input_size": [3, 320, 320], "crop_pct": 0.94, "interpolation": "bilinear", "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6], "crop_mode": "squash"}  # fmt: skip


def test_timms_config_beside_the_weights_decides_the_preprocessing(tmp_path: Path) -> None:
    names = [f"thing {index}" for index in range(1000)]
    folder = hub_folder(tmp_path / "hub", pretrained_cfg=TIMM, label_names=names)
    net = create_model("xception", weights=folder, width=0.01)
    assert net.preprocess == Preprocess(
        size=(320, 320),
        resize="stretch",
        crop_pct=0.94,
        interpolation="bilinear",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    assert net.classes == tuple(names)


@pytest.mark.parametrize(
    "config",
    [
        {"pretrained_cfg": {**TIMM, "mean": "gray"}},
        {"pretrained_cfg": {**TIMM, "input_size": [3]}},
        {"pretrained_cfg": {**TIMM, "crop_pct": "all"}},
        {"pretrained_cfg": [1]},
        {"label_names": [1]},
    ],
    ids=range(5),
)
def test_a_hub_config_that_lies_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json"):
        create_model("xception", weights=hub_folder(tmp_path / "hub", **{"pretrained_cfg": TIMM, **config}), width=0.01)


def test_owner_and_name_are_fetched_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    folder, asked = hub_folder(tmp_path / "hub", pretrained_cfg=TIMM), []

    def snapshot(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if local_files_only:
            raise FileNotFoundError
        asked.append((name, sorted(allow_patterns)))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert create_model("xception", weights="timm/legacy_xception.tf_in1k", width=0.01).num_classes == 1000
    assert asked == [("timm/legacy_xception.tf_in1k", ["config.json", "model.safetensors", "pytorch_model.bin"])]


def test_the_hub_is_not_asked_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"nobody/nothing.* cannot be fetched"):
        create_model("xception", weights="nobody/nothing-of-this-name")


# --- SOURCE -----------------------------------------------------------------------------------------------------------


def test_a_path_that_exists_comes_before_every_other_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").write_bytes(b"")
    assert locate("owner/name") == Path("owner/name")


@pytest.mark.parametrize("source", ["weights.pth", "a/b/c.h5", "http:/nowhere"])
def test_nonsense_lists_what_a_source_may_be(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((FileNotFoundError, DataError), match="hub"):
        create_model("xception", weights=source)


def test_a_file_of_no_kind_lists_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    with pytest.raises(DataError, match=r"photo\.jpg: of no kind that is read: PyTorch.*Keras"):
        create_model("xception", weights=tmp_path / "photo.jpg")


def test_the_current_folder_is_a_model_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = saved(tmp_path)
    monkeypatch.chdir(folder)
    assert create_model("xception", weights=".").classes == CLASSES
    assert not artifact.is_artifact(Path("/"))


def test_an_empty_folder_holds_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        create_model("xception", weights=tmp_path)


def test_where_weights_came_from_is_recorded(tmp_path: Path) -> None:
    path = keras_file(tmp_path)
    loaded = load_weights(path, network="xception", options={"width": 0.01})
    assert loaded.provenance["source"] == str(path)
    assert loaded.provenance["layout"] == "Keras's xception"
    assert len(loaded.provenance["sha256"]) == 64


# --- inceptions weights convert ---------------------------------------------------------------------------------------


def convert(source: Path, folder: Path, *flags: str) -> int:
    return main(["weights", "convert", str(source), str(folder), "--options.width", "0.01", *flags])


def test_convert_writes_what_the_flags_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--input", "raw", "--img-size", "72", "--crop-pct", "0.5", "--resize", "stretch", "--labels", "a,b,c,d"]
    assert convert(keras_file(tmp_path), tmp_path / "out", *flags, "--json") == 0
    net = artifact.load(tmp_path / "out")
    assert net.preprocess == Preprocess(
        size=(72, 72),
        resize="stretch",
        crop_pct=0.5,
        interpolation="bicubic",
        mean=(0, 0, 0),
        std=(1, 1, 1),
        value_range=255,
    )
    assert net.classes == ("a", "b", "c", "d")
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["classes"], told["output"]) == ("xception", ["a", "b", "c", "d"], str(tmp_path / "out"))


@pytest.mark.parametrize("interpolation", ["nearest", "tf2_bilinear"])
def test_convert_stores_the_interpolation(interpolation: str, tmp_path: Path) -> None:
    assert convert(keras_file(tmp_path), tmp_path / "out", "--interpolation", interpolation) == 0
    assert artifact.load(tmp_path / "out").preprocess.interpolation == interpolation


WHITE = {"raw": 255.0, "unit": 1.0, "tf": 1.0, "imagenet": (1 - 0.485) / 0.229, "caffe": 255 - 104.0}


@pytest.mark.parametrize("kind", WHITE)
def test_each_kind_of_input_acts(kind: str, tmp_path: Path) -> None:
    assert convert(keras_file(tmp_path), tmp_path / "out", "--input", kind) == 0
    preprocess = artifact.load(tmp_path / "out").preprocess
    assert preprocess is not None
    white = preprocess.normalize(torch.full((1, 3, 1, 1), 255.0)).flatten()[0].item()
    assert white == pytest.approx(WHITE[kind], rel=1e-6)
    assert (preprocess.channel_order == "bgr") == (kind == "caffe")


def test_what_no_flag_says_is_as_published_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(keras_file(tmp_path), tmp_path / "out", "--input", "tf") == 0
    told = capsys.readouterr().err
    assert "crop_pct 0.8975" in told
    assert "mean" not in told


def test_labels_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("red, round\nblue\n\ngreen\nGröße\n", encoding="utf-8")
    assert convert(keras_file(tmp_path), tmp_path / "out", "--labels", str(tmp_path / "labels.txt")) == 0
    assert artifact.load(tmp_path / "out").classes == ("red, round", "blue", "green", "Größe")


@pytest.mark.parametrize(
    ("fixture", "flags", "code", "message"),
    [
        ("xception_hidden.h5", ["--labels", "a,b"], 2, "names 2 classes; the network has 4"),
        ("xception_hidden.h5", ["--labels", "a,a,b,c"], 2, "class 'a' is named twice"),
        ("xception_hidden.h5", ["--model", "inception_v4"], 3, "not inception_v4"),
        ("xception_hidden.h5", ["--crop-pct", "7"], 2, "crop_pct is 7"),
        ("xception_nested.keras", ["--input", "unit"], 2, "scales the pixels itself"),
        ("xception_base.weights.h5", [], 2, "inceptions train DATA --model xception --weights"),
    ],
)
def test_convert_says_what_is_wrong_and_writes_nothing(
    fixture: str, flags: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(keras_file(tmp_path, fixture), tmp_path / "out", *flags) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_an_artifact_can_be_converted_to_change_its_labels(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    assert main(["weights", "convert", str(folder), str(tmp_path / "out"), "--labels", "x,y,z"]) == 0
    assert artifact.load(tmp_path / "out").classes == ("x", "y", "z")
