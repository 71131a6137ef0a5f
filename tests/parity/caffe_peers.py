"""Caffe's definitions of GoogLeNet (BVLC) and BN-Inception, executed by OpenCV.

The definitions are written here from the published facts (layer names, widths, pads, pooling), not from our tables, and
handed to OpenCV's importer as a `.prototxt` with its `.caffemodel`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from parity.recipe import Answer
from parity.rows import Row, Size

cv2.setNumThreads(1)


@dataclass
class Definition:
    """A Caffe network as text, and which of its layers hold weights."""

    batch_norm: bool
    layers: list[str] = field(default_factory=list)
    weighted: dict[str, str] = field(default_factory=dict)
    """Name -> kind of the layers with weights, in the order of our tensors."""

    def layer(self, name: str, kind: str, bottoms: str | Sequence[str], parameters: str = "") -> str:
        """Add a layer whose output has its own name. Returns that name."""
        bottoms = [bottoms] if isinstance(bottoms, str) else bottoms
        reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.layers.append(f'layer {{ name: "{name}" type: "{kind}" {reads} top: "{name}" {parameters} }}')
        return name

    def conv(self, name: str, bottom: str, channels: int, kernel: int = 1, stride: int = 1, pad: int = 0) -> str:
        """Convolution with bias, batch norm (Caffe's pair of layers for it) where the network has it, ReLU."""
        numbers = f"num_output: {channels} kernel_size: {kernel} stride: {stride} pad: {pad}"
        top = self.layer(name, "Convolution", bottom, f"convolution_param {{ {numbers} }}")
        self.weighted[name] = "Convolution"
        if self.batch_norm:
            top = self.layer(f"{name}/bn", "BatchNorm", top, "batch_norm_param { use_global_stats: true eps: 1e-5 }")
            top = self.layer(f"{name}/scale", "Scale", top, "scale_param { bias_term: true }")
        return self.layer(f"{name}/relu", "ReLU", top)

    def pool(self, name: str, bottom: str, kind: str, kernel: int = 3, stride: int = 1, pad: int = 0) -> str:
        """Pooling; Caffe rounds its size up."""
        numbers = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.layer(name, "Pooling", bottom, f"pooling_param {{ pool: {kind} {numbers} }}")

    def lrn(self, name: str, bottom: str) -> str:
        """Local response normalization over five channels."""
        return self.layer(name, "LRN", bottom, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def join(self, name: str, bottoms: Sequence[str]) -> str:
        """Concatenation along the channels."""
        return self.layer(name, "Concat", bottoms)

    def linear(self, name: str, bottom: str, width: int) -> str:
        """Fully connected layer."""
        self.weighted[name] = "InnerProduct"
        return self.layer(name, "InnerProduct", bottom, f"inner_product_param {{ num_output: {width} }}")

    def text(self, size: Size) -> str:
        """The whole `.prototxt` for images of this size."""
        shape = f"dim: 1 dim: 3 dim: {size[0]} dim: {size[1]}"
        return "\n".join([f'input: "data" input_shape {{ {shape} }}', *self.layers])


def caffe_peer(row: Row, tensors: Mapping[str, np.ndarray], size: Size, double: bool) -> Callable[[np.ndarray], Answer]:
    """The peer of a row with our tensors in it, for images of this size; float32, one image at a time."""
    assert not double
    definition = Definition(batch_norm=row.network == "bn_inception")
    aux = size in row.aux_sizes
    outputs = (_googlenet if row.network == "googlenet" else _bn_inception)(definition, aux)
    wanted = {name: value for name, value in tensors.items() if aux or not name.startswith("aux")}
    net = cv2.dnn.readNetFromCaffe(
        np.frombuffer(definition.text(size).encode(), np.uint8), np.frombuffer(_weights(definition, wanted), np.uint8)
    )
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.enableFusion(False)
    net.enableWinograd(False)

    def run(images: np.ndarray) -> Answer:
        found: dict[str, list[np.ndarray]] = {ours: [] for ours in outputs}
        for image in images:
            net.setInput(np.ascontiguousarray(image[None]))
            for ours, value in zip(outputs, net.forward(list(outputs.values())), strict=True):
                found[ours].append(value.copy())
        joined = {ours: np.concatenate(values) for ours, values in found.items()}
        heads = {name.removeprefix("aux "): joined.pop(name) for name in list(joined) if name.startswith("aux ")}
        return Answer(joined.pop("logits"), heads, joined)

    return run


def caffe_files(row: Row, tensors: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """A `.caffemodel` with our tensors in it; of GoogLeNet only, for BN-Inception has as many spellings as authors."""
    if row.network != "googlenet":
        return []
    definition = Definition(batch_norm=False)
    _googlenet(definition, aux=True)
    path = folder / "googlenet.caffemodel"
    path.write_bytes(_weights(definition, tensors))
    return [path]


# --- the two definitions ------------------------------------------------------------------------------------------

#               1x1  reduce  3x3  reduce  5x5  projection
GOOGLENET = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def _googlenet(net: Definition, aux: bool) -> dict[str, str]:
    stages = {"conv1": net.conv("conv1/7x7_s2", "data", 64, 7, 2, 3)}
    top = stages["pool1"] = net.pool("pool1/3x3_s2", stages["conv1"], "MAX", 3, 2)
    top = stages["norm1"] = net.lrn("pool1/norm1", top)
    top = stages["conv2_reduce"] = net.conv("conv2/3x3_reduce", top, 64)
    top = stages["conv2"] = net.conv("conv2/3x3", top, 192, 3, pad=1)
    top = stages["norm2"] = net.lrn("conv2/norm2", top)
    top = stages["pool2"] = net.pool("pool2/3x3_s2", top, "MAX", 3, 2)
    for block, (one, reduce3, three, reduce5, five, projection) in GOOGLENET.items():
        name = f"inception_{block}"
        branches = [
            net.conv(f"{name}/1x1", top, one),
            net.conv(f"{name}/3x3", net.conv(f"{name}/3x3_reduce", top, reduce3), three, 3, pad=1),
            net.conv(f"{name}/5x5", net.conv(f"{name}/5x5_reduce", top, reduce5), five, 5, pad=2),
            net.conv(f"{name}/pool_proj", net.pool(f"{name}/pool", top, "MAX", 3, 1, 1), projection),
        ]
        top = stages[name] = net.join(f"{name}/output", branches)
        if block in ("3b", "4e"):
            grid = int(block[0])
            top = stages[f"pool{grid}"] = net.pool(f"pool{grid}/3x3_s2", top, "MAX", 3, 2)
    # Caffe's is 7x7 at stride 1: at 224 px the whole grid.
    mean = net.layer("pool5/7x7_s1", "Pooling", top, "pooling_param { pool: AVE global_pooling: true }")
    stages["logits"] = net.linear("loss3/classifier", mean, 1000)
    for loss, block in (("loss1", "inception_4a"), ("loss2", "inception_4d")) if aux else ():
        hidden = net.conv(f"{loss}/conv", net.pool(f"{loss}/ave_pool", stages[block], "AVE", 5, 3), 128)
        hidden = net.layer(f"{loss}/relu_fc", "ReLU", net.linear(f"{loss}/fc", hidden, 1024))
        stages[f"aux {block}"] = net.linear(f"{loss}/classifier", hidden, 1000)
    return stages


#         1x1  reduce  3x3  reduce  3x3 twice  projection
BN_INCEPTION = {
    "3a": (64, 64, 64, 64, 96, 32), "3b": (64, 64, 96, 64, 96, 64), "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128), "4b": (192, 96, 128, 96, 128, 128), "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128), "4e": (0, 128, 192, 192, 256, 0), "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}  # fmt: skip


def _bn_inception(net: Definition, aux: bool) -> dict[str, str]:
    stages = {"conv1": net.conv("conv1/7x7_s2", "data", 64, 7, 2, 3)}
    top = stages["pool1"] = net.pool("pool1/3x3_s2", stages["conv1"], "MAX", 3, 2)
    top = stages["conv2_reduce"] = net.conv("conv2/3x3_reduce", top, 64)
    top = stages["conv2"] = net.conv("conv2/3x3", top, 192, 3, pad=1)
    top = stages["pool2"] = net.pool("pool2/3x3_s2", top, "MAX", 3, 2)
    for block, (one, reduce3, three, reduce33, double, projection) in BN_INCEPTION.items():
        name, stride = f"inception_{block}", 1 if one else 2
        branches = [net.conv(f"{name}/1x1", top, one)] if one else []
        branches.append(net.conv(f"{name}/3x3", net.conv(f"{name}/3x3_reduce", top, reduce3), three, 3, stride, 1))
        inner = net.conv(f"{name}/double_3x3_1", net.conv(f"{name}/double_3x3_reduce", top, reduce33), double, 3, pad=1)
        branches.append(net.conv(f"{name}/double_3x3_2", inner, double, 3, stride, 1))
        if projection:
            pooled = net.pool(f"{name}/pool", top, "MAX" if block == "5b" else "AVE", 3, 1, 1)
            branches.append(net.conv(f"{name}/pool_proj", pooled, projection))
        else:
            branches.append(net.pool(f"{name}/pool", top, "MAX", 3, 2))
        top = stages[name] = net.join(f"{name}/output", branches)
    mean = net.layer("global_pool", "Pooling", top, "pooling_param { pool: AVE global_pooling: true }")
    stages["logits"] = net.linear("fc", mean, 1000)
    return stages


# --- the binary of weights: protocol buffers, as far as a NetParameter needs them ---------------------------------


def _weights(definition: Definition, tensors: Mapping[str, np.ndarray]) -> bytes:
    """A `.caffemodel` with our tensors, taken in order: for each convolution weight, bias and its batch norm's four."""
    values = iter(tensors.items())

    def take(shape_of: str) -> np.ndarray:
        name, value = next(values)
        if not name.endswith(shape_of):
            raise ValueError(f"{name} comes where a {shape_of} is due")
        return value

    layers = b""
    for name, kind in definition.weighted.items():
        layers += _layer(name, kind, [take("weight"), take("bias")])
        if definition.batch_norm and kind == "Convolution":
            gamma, beta = take("norm.weight"), take("norm.bias")
            statistics = [take("running_mean"), take("running_var"), np.ones(1, np.float32)]
            layers += _layer(f"{name}/bn", "BatchNorm", statistics) + _layer(f"{name}/scale", "Scale", [gamma, beta])
    left = [name for name, _ in values]
    if left:
        raise ValueError(f"no layer took {left}")
    return layers


def _layer(name: str, kind: str, blobs: Sequence[np.ndarray]) -> bytes:
    body = _bytes(1, name.encode()) + _bytes(2, kind.encode())
    for blob in blobs:
        shape = _bytes(1, b"".join(_varint(side) for side in blob.shape))
        body += _bytes(7, _bytes(7, shape) + _bytes(5, np.ascontiguousarray(blob, "<f4").tobytes()))
    return _bytes(100, body)


def _bytes(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += struct.pack("B", value & 0x7F | 0x80)
        value >>= 7
    return out + struct.pack("B", value)
