"""Weights and images of other numbers of channels: the file decides, or its kernels are turned, as is said."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import pytest
import torch
from torch import Tensor

from inceptions import create_model
from inceptions.weights import artifact
from inceptions.weights.create import default_preprocess
from inceptions.zoo import build
from test_weights_keras import fixture
from test_weights_torch import load, state_dict

X = "xception/timm"
GOLDEN = Path(__file__).parent / "golden"


def gray() -> dict[str, Tensor]:
    state = state_dict(X)
    return {**state, "conv1.weight": state["conv1.weight"].sum(1, keepdim=True)}


def images(channels: int) -> Tensor:
    return torch.randn(1, channels, 75, 75, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("options", [{}, {"in_channels": 1}])
def test_a_file_of_gray_images_decides(options: dict[str, int], tmp_path: Path) -> None:
    net = load(X, tmp_path, gray(), **options)
    assert (net.in_channels, net.preprocess.channels, net.preprocess.shape) == (1, 1, (1, 299, 299))
    artifact.save(net, tmp_path / "model")
    again = artifact.load(tmp_path / "model")
    assert (again.in_channels, again.preprocess) == (1, net.preprocess)


def test_gray_weights_of_keras_decide_too(tmp_path: Path) -> None:
    path = fixture("xception_hidden.h5", tmp_path)
    with h5py.File(path, "a") as file:
        (name,) = [n for n in _names(file) if "block1_conv1/" in n and "kernel" in n]
        kernel = file[name][()].sum(2, keepdims=True)
        del file[name]
        file[name] = kernel
    assert create_model("xception", weights=path, width=0.01).preprocess.channels == 1


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


def test_one_channel_reads_the_sum_of_the_colors_kernels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    colors, one = load(X, tmp_path).double(), load(X, tmp_path, in_channels=1).double()
    with torch.no_grad():
        torch.testing.assert_close(one(images(1)), colors(images(1).expand(1, 3, -1, -1)))
    assert one.preprocess.mean == (0.5,)
    assert any("for images of 3 channels, in_channels is 1" in record.message for record in caplog.records)


@pytest.mark.parametrize("channels", [3, 4])
def test_more_channels_read_the_kernels_in_turn_with_the_same_sum(channels: int, tmp_path: Path) -> None:
    state = gray() if channels == 3 else state_dict(X)
    few, more = load(X, tmp_path, state).double(), load(X, tmp_path, state, in_channels=channels).double()
    first, second = few.body.conv1.conv.weight, more.body.conv1.conv.weight
    torch.testing.assert_close(
        second.sum(1), first.repeat(1, 3, 1, 1)[:, :channels].sum(1) * few.in_channels / channels
    )
    assert (more.preprocess is None) == (channels == 4)


def test_caffes_statistics_become_one_number(tmp_path: Path) -> None:
    path = tmp_path / "weights.caffemodel"
    path.write_bytes(gzip.decompress((GOLDEN / "caffe" / "googlenet.caffemodel.gz").read_bytes()))
    preprocess = create_model("googlenet", weights=path, width=0.01, in_channels=1).preprocess
    assert (preprocess.mean, preprocess.std, preprocess.channel_order) == (((104 + 117 + 123) / 3,), (1.0,), "rgb")


def test_a_depthwise_first_convolution_cannot_be_turned() -> None:
    with pytest.raises(ValueError, match=r"in_channels=1: these weights of bn_inception are for 3 channels.*depthwise"):
        create_model("bn_inception", weights=GOLDEN / "tensorflow" / "inception_v2.tar.gz", width=0.01, in_channels=1)


def test_what_load_would_refuse_is_not_saved(tmp_path: Path) -> None:
    net = build("googlenet", width=0.125, num_classes=2, stem="small", in_channels=1)
    net.classes, net.preprocess = ("a", "b"), default_preprocess(build("googlenet", width=0.125, stem="small"))
    with pytest.raises(ValueError, match=r"preprocess makes 3 channels.*takes 1 channels"):
        artifact.save(net, tmp_path / "model")
