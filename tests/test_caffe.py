"""Caffe's files give the logits of OpenCV's importer: tests/golden/caffe was written by protobuf and executed by OpenCV
(tests/parity/caffe_fixtures.py)."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inceptions.errors import DataError
from inceptions.weights import create_model, load_weights
from inceptions.weights.caffe import read_caffe

GOLDEN = Path(__file__).parent / "golden" / "caffe"
NETWORKS = sorted(path.name.removesuffix(".caffemodel.gz") for path in GOLDEN.glob("*.caffemodel.gz"))


@cache
def model(name: str) -> bytes:
    return gzip.decompress((GOLDEN / f"{name}.caffemodel.gz").read_bytes())


def written(content: bytes, folder: Path) -> Path:
    path = folder / "weights.caffemodel"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_opencv_and_we_agree_on_what_a_model_answers(name: str, tmp_path: Path) -> None:
    net = load_weights(written(model(name), tmp_path), options={"width": 0.01}).net.double()
    assert net.preprocess is not None
    assert net.preprocess.channel_order == "bgr"
    for case in json.loads((GOLDEN / f"{name}.json").read_text()):
        height, width = case["size"]
        numbers = np.arange(height * width * 3, dtype=np.int64)
        rgb = torch.from_numpy(numbers * 7919 % 2003 % 256).reshape(height, width, 3).permute(2, 0, 1)
        with torch.no_grad():
            logits = net(net.preprocess.normalize(rgb.flip(0)[None]).double())[0]
        expected = torch.tensor(case["logits"], dtype=torch.float64)
        assert (torch.cat([logits[:8], logits[-4:]]) - expected).norm() <= 1e-5 * expected.norm()


def test_a_image_of_one_color_reaches_the_network_as_blue_green_red(tmp_path: Path) -> None:
    net = load_weights(written(model("googlenet"), tmp_path), options={"width": 0.01}).net
    assert net.preprocess is not None
    orange = np.broadcast_to(np.array([255, 128, 0], np.uint8), (256, 256, 3))
    values = net.preprocess(orange)[:, 100, 100]
    assert values.tolist() == [0 - 104, 128 - 117, 255 - 123]


@pytest.mark.parametrize(("name", "eps", "late"), [("bn_inception", 1e-5, 96), ("bn_inception_one_layer", 1e-5, 128)])
def test_each_publishers_options_come_with_its_file(name: str, eps: float, late: int, tmp_path: Path) -> None:
    options = load_weights(written(model(name), tmp_path), options={"width": 0.01}).net.options
    assert (options["norm_eps"], options["late_pool_width"]) == (eps, late)


def test_the_layer_messages_of_2013_and_of_today_hold_the_same() -> None:
    """GoogLeNet's fixture is the old message: its type is a number, and it has no field 100."""
    assert b"Convolution" not in model("googlenet")
    assert b"Convolution" in model("bn_inception")


def test_a_pair_of_batch_norm_layers_is_one_of_ours(tmp_path: Path) -> None:
    pair = read_caffe(written(model("bn_inception"), tmp_path)).tensors
    one = read_caffe(written(model("bn_inception_one_layer"), tmp_path)).tensors
    for role in ("weight", "bias", "running_mean", "running_var"):  # the means in a pair are sums over two batches
        torch.testing.assert_close(pair[f"conv1/7x7_s2/bn.{role}"], one[f"conv1/7x7_s2_bn.{role}"])


def test_another_network_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Caffe's googlenet, not bn_inception"):
        create_model("bn_inception", weights=written(model("googlenet"), tmp_path), width=0.01)


@pytest.mark.parametrize(("content", "complaint"), [
    (b"", "no weights"),
    (b"\x0a\x03net", "no weights"),
    (b"\xa2\x06\x05\x0a\xff\xff\xff\x0f", "damaged"),
    (b"\xa2\x06\x08\x0a\x01a\x3a\x03\x3a\x01\x00", "damaged"),
])  # fmt: skip
def test_what_is_no_model_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=complaint):
        read_caffe(written(content, tmp_path))


def blob(shape: bytes, values: bytes) -> bytes:
    inner = b"\x3a" + bytes([len(shape) + 2]) + b"\x0a" + bytes([len(shape)]) + shape
    inner += b"\x2a" + bytes([len(values)]) + values
    layer = b"\x0a\x04conv\x12\x0bConvolution\x3a" + bytes([len(inner)]) + inner
    return b"\xa2\x06" + bytes([len(layer)]) + layer


@pytest.mark.parametrize("shape", [b"\x02", b"\x80\x80\x80\x80\x80\x80\x01", b"\xff" * 9 + b"\x01", b"\x01" * 9])
def test_a_blob_whose_shape_is_not_its_values_is_refused(shape: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="conv"):
        read_caffe(written(blob(shape, np.float32(1).tobytes()), tmp_path))


def test_the_hand_made_blob_is_good_where_its_shape_is(tmp_path: Path) -> None:
    assert read_caffe(written(blob(b"\x01", np.float32(3).tobytes()), tmp_path)).tensors["conv.weight"].tolist() == [3]


def test_a_layer_that_none_of_the_family_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Deformation.*none of the family"):
        read_caffe(written(blob(b"\x01", bytes(4)).replace(b"Convolution", b"Deformation"), tmp_path))


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_flipped_bit_or_a_cut_gives_an_error_or_tensors(
    place: float, bit: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(model("bn_inception"))
    position = int(place * len(damaged))
    if cut:
        del damaged[position:]
    else:
        damaged[position] ^= 1 << bit
    path = written(bytes(damaged), tmp_path_factory.mktemp("damaged"))
    try:
        said = read_caffe(path).source
    except DataError as error:
        said = str(error)
    assert str(path) in said
    path.unlink()
