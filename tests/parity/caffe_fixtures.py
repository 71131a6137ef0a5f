"""Writes the Caffe weight files and golden logits that tests/test_caffe.py compares against.

    make fixtures                                                    all four programs
    .parity/bin/python tests/parity/caffe_fixtures.py [FOLDER]       this one

The networks are the public definitions (BVLC's bvlc_googlenet, lim0606's caffe-googlenet-bn), 8 channels wide; OpenCV's
own Caffe importer executes what was written. The messages are protobuf's, by field numbers of caffe.proto: GoogLeNet in
the layer message of 2013 that the published file has, BN-Inception in today's. OpenCV knows no layer "BN" (four tensors
in one layer, as in yjxiong's Caffe); a file with it holds the numbers of the pair that OpenCV executes.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NARROW = 8
GOLDEN = Path(__file__).parents[1] / "golden" / "caffe"
cv2.setNumThreads(1)


def messages() -> dict[str, Any]:
    """The part of caffe.proto that weights need, as protobuf classes."""
    text, number, message, packed = 9, 5, 11, 2  # descriptor types string, int32 (also the old enum), message, float
    optional, repeated = 1, 3
    rows = {
        "BlobShape": [("dim", 1, repeated, 3, "")],
        "BlobProto": [
            ("num", 1, optional, number, ""), ("channels", 2, optional, number, ""),
            ("height", 3, optional, number, ""), ("width", 4, optional, number, ""),
            ("data", 5, repeated, packed, ""), ("shape", 7, optional, message, "BlobShape"),
        ],
        "V1LayerParameter": [
            ("bottom", 2, repeated, text, ""), ("top", 3, repeated, text, ""), ("name", 4, optional, text, ""),
            ("type", 5, optional, number, ""), ("blobs", 6, repeated, message, "BlobProto"),
        ],
        "LayerParameter": [
            ("name", 1, optional, text, ""), ("type", 2, optional, text, ""), ("bottom", 3, repeated, text, ""),
            ("top", 4, repeated, text, ""), ("blobs", 7, repeated, message, "BlobProto"),
        ],
        "NetParameter": [
            ("name", 1, optional, text, ""), ("layers", 2, repeated, message, "V1LayerParameter"),
            ("layer", 100, repeated, message, "LayerParameter"),
        ],
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="caffe_part.proto", package="caffe_part", syntax="proto2")
    for name, fields in rows.items():
        described = file.message_type.add(name=name)
        for called, tag, label, kind, of in fields:
            entry = described.field.add(name=called, number=tag, label=label, type=kind)
            if of:
                entry.type_name = f".caffe_part.{of}"
            entry.options.packed = label == repeated and kind in (packed, 3)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe_part.{name}")) for name in rows}


@dataclass
class Net:
    """A definition as text, and its weights, as it grows layer by layer."""

    norm: str | None = None
    """What follows a convolution's name in that of its batch norm; None: no batch norm, but biases."""
    size: tuple[int, int] = (224, 224)
    text: list[str] = field(default_factory=list)
    layers: list[tuple[str, str, list[str], str, list[np.ndarray]]] = field(default_factory=list)
    """(name, type, bottoms, top, blobs)."""
    channels: dict[str, int] = field(default_factory=lambda: {"data": 3})
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2014))

    def add(
        self, name: str, kind: str, bottoms: list[str], blobs: list[np.ndarray], more: str = "", top: str = ""
    ) -> str:
        top = top or name
        wires = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.text.append(f'layer {{ name: "{name}" type: "{kind}" {wires} top: "{top}" {more} }}')
        self.layers.append((name, kind, bottoms, top, blobs))
        return top

    def coarse(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-7, 8, size=shape)

    def conv(self, name: str, bottom: str, kernel: int = 1, stride: int = 1) -> str:
        """Convolution, batch norm where the network has it, ReLU."""
        fan_in = self.channels[bottom] * kernel**2
        weight = self.coarse(NARROW, self.channels[bottom], kernel, kernel) / 4 * 2.0 ** -np.round(np.log2(fan_in) / 2)
        blobs = [weight] if self.norm else [weight, self.coarse(NARROW) / 16]
        bias = "bias_term: false" if self.norm else ""
        numbers = f"num_output: {NARROW} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} {bias}"
        top = self.add(name, "Convolution", [bottom], blobs, f"convolution_param {{ {numbers} }}")
        if self.norm:
            norm, count = f"{name}{self.norm}", 2.0
            mean, variance = self.coarse(NARROW) / 16 * count, self.rng.choice([1 / 256, 1 / 8, 1], NARROW) * count
            top = self.add(norm, "BatchNorm", [top], [mean, variance, np.array([count])])
            blobs = [self.rng.integers(4, 13, NARROW) / 32, self.coarse(NARROW) / 16]
            top = self.add(f"{norm}/sc", "Scale", [top], blobs, "scale_param { bias_term: true }")
        self.channels[top] = NARROW
        return self.add(f"{name}/relu", "ReLU", [top], [], top=top)

    def pool(self, name: str, bottom: str, kind: str, kernel: int, stride: int, pad: int = 0) -> str:
        numbers = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
        self.channels[name] = self.channels[bottom]
        return self.add(name, "Pooling", [bottom], [], f"pooling_param {{ {numbers} }}")

    def lrn(self, name: str, bottom: str) -> str:
        self.channels[name] = self.channels[bottom]
        return self.add(name, "LRN", [bottom], [], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def concat(self, name: str, bottoms: list[str]) -> str:
        self.channels[name] = sum(self.channels[bottom] for bottom in bottoms)
        return self.add(name, "Concat", bottoms, [])

    def classifier(self, name: str, bottom: str, classes: int) -> None:
        pooled = self.add("mean", "Pooling", [bottom], [], "pooling_param { pool: AVE global_pooling: true }")
        blobs = [self.coarse(classes, self.channels[bottom]) / 16, self.coarse(classes) / 16]
        self.add(name, "InnerProduct", [pooled], blobs, f"inner_product_param {{ num_output: {classes} }}")

    def prototxt(self) -> str:
        dims = f"dim: 1 dim: 3 dim: {self.size[0]} dim: {self.size[1]}"
        return "\n".join([f'name: "fixture" input: "data" input_shape {{ {dims} }}', *self.text])


def googlenet(size: tuple[int, int]) -> Net:
    """BVLC's: LRN, five by five, every pool rounded up."""
    net = Net(size=size)
    top = net.pool("pool1/3x3_s2", net.conv("conv1/7x7_s2", "data", 7, 2), "MAX", 3, 2)
    top = net.conv("conv2/3x3", net.conv("conv2/3x3_reduce", net.lrn("pool1/norm1", top)), 3)
    top = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", top), "MAX", 3, 2)
    for block in ("3a", "3b", "pool3", "4a", "4b", "4c", "4d", "4e", "pool4", "5a", "5b"):
        if block.startswith("pool"):
            top = net.pool(f"{block}/3x3_s2", top, "MAX", 3, 2)
            continue
        name = f"inception_{block}"
        branches = [
            net.conv(f"{name}/1x1", top),
            net.conv(f"{name}/3x3", net.conv(f"{name}/3x3_reduce", top), 3),
            net.conv(f"{name}/5x5", net.conv(f"{name}/5x5_reduce", top), 5),
            net.conv(f"{name}/pool_proj", net.pool(f"{name}/pool", top, "MAX", 3, 1, 1)),
        ]
        top = net.concat(f"{name}/output", branches)
    net.classifier("loss3/classifier", top, 1000)
    return net


def bn_inception(size: tuple[int, int], double: tuple[str, str, str], norm: str, head: str) -> Net:
    """lim0606's: batch norm with Caffe's own epsilon of 1e-5, average pools that count the border."""
    net = Net(size=size, norm=norm)
    top = net.pool("pool1/3x3_s2", net.conv("conv1/7x7_s2", "data", 7, 2), "MAX", 3, 2)
    top = net.conv("conv2/3x3", net.conv("conv2/3x3_reduce", top), 3)
    top = net.pool("pool2/3x3_s2", top, "MAX", 3, 2)
    for block in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        name, strided = f"inception_{block}", block in ("3c", "4e")
        stride = 2 if strided else 1
        branches = [] if strided else [net.conv(f"{name}/1x1", top)]
        branches.append(net.conv(f"{name}/3x3", net.conv(f"{name}/3x3_reduce", top), 3, stride))
        twice = net.conv(f"{name}/{double[1]}", net.conv(f"{name}/{double[0]}", top), 3)
        branches.append(net.conv(f"{name}/{double[2]}", twice, 3, stride))
        if strided:
            branches.append(net.pool(f"{name}/pool", top, "MAX", 3, 2))
        else:
            pooled = net.pool(f"{name}/pool", top, "MAX" if block == "5b" else "AVE", 3, 1, 1)
            branches.append(net.conv(f"{name}/pool_proj", pooled))
        top = net.concat(f"{name}/output", branches)
    net.classifier(head, top, 11)
    return net


def binary(net: Net, form: str) -> bytes:
    """The weights as a NetParameter: "V1" layers, today's ("new"), or with "BN" in the place of the pairs."""
    classes = messages()
    model = classes["NetParameter"](name="fixture")
    old_kinds = {"Convolution": 4, "InnerProduct": 14, "ReLU": 18, "Pooling": 17, "LRN": 15, "Concat": 3}
    held: list[np.ndarray] = []
    for name, kind, bottoms, top, blobs in net.layers:
        if form == "BN" and kind in ("BatchNorm", "Scale"):
            if kind == "BatchNorm":
                held = [blobs[0] / blobs[2], blobs[1] / blobs[2]]
                continue
            name, kind, blobs = name.removesuffix("/sc"), "BN", [*blobs, *held]
        layer = model.layers.add() if form == "V1" else model.layer.add()
        layer.name, layer.type = name, old_kinds[kind] if form == "V1" else kind
        layer.bottom.extend(bottoms)
        layer.top.append(top)
        for values in blobs:
            blob = layer.blobs.add()
            if form == "V1":  # four dimensions always
                shape = (1,) * (4 - values.ndim) + values.shape
                blob.num, blob.channels, blob.height, blob.width = shape
            elif kind == "BN":  # rows of channels, as that Caffe keeps them
                blob.shape.dim.extend((1, values.size, 1, 1))
            else:
                blob.shape.dim.extend(values.shape)
            blob.data.extend(values.astype(np.float32).ravel().tolist())
    return model.SerializeToString()


def images(size: tuple[int, int], start: int = 0) -> np.ndarray:
    """One image (1, 3, H, W) of pseudo-random integers 0..255; the tests build the same by the same formula."""
    numbers = np.arange(start, start + size[0] * size[1] * 3, dtype=np.int64)
    return (numbers * 7919 % 2003 % 256).reshape(1, *size, 3).transpose(0, 3, 1, 2).astype(np.float32)


def execute(net: Net, weights: bytes, head: str, start: int = 0) -> list[float]:
    """OpenCV's logits for an RGB image, turned to blue, green, red and less the mean, as Caffe's tools do it."""
    with tempfile.TemporaryDirectory() as temporary:
        text, model = Path(temporary) / "net.prototxt", Path(temporary) / "net.caffemodel"
        text.write_text(net.prototxt())
        model.write_bytes(weights)
        network = cv2.dnn.readNetFromCaffe(str(text), str(model))
    network.enableFusion(False)
    mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    network.setInput(np.ascontiguousarray(images(net.size, start)[:, ::-1] - mean))
    logits = network.forward(head).ravel()
    return [float(value) for value in [*logits[:8], *logits[-4:]]]


def main(folder: Path = GOLDEN) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lim = (("double3x3_reduce", "double3x3a", "double3x3b"), "/bn", "loss3/classifier")
    tsn = (("double_3x3_reduce", "double_3x3_1", "double_3x3_2"), "_bn", "fc")
    for name, make, form, head, sizes in (
        ("googlenet", googlenet, "V1", "loss3/classifier", [(224, 224), (203, 217)]),
        ("bn_inception", lambda size: bn_inception(size, *lim), "new", lim[2], [(224, 224), (192, 256)]),
        ("bn_inception_one_layer", lambda size: bn_inception(size, *tsn), "BN", tsn[2], [(224, 224)]),
    ):
        golden = []
        for size in sizes:
            net = make(size)
            executed = binary(net, "new" if form == "BN" else form)
            golden.append({"size": size, "logits": execute(net, executed, head)})
        other = execute(net, executed, head, start=1)
        change = np.linalg.norm(np.subtract(other, golden[-1]["logits"])) / np.linalg.norm(other)
        assert change > 1e-3, f"{name}: the logits hardly depend on the image ({change})"
        with gzip.GzipFile(folder / f"{name}.caffemodel.gz", "wb", mtime=0) as file:
            file.write(binary(net, form))
        (folder / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(name, (folder / f"{name}.caffemodel.gz").stat().st_size, change, golden[0]["logits"][:3])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
