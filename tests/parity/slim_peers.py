"""TensorFlow's: Inception v1, v2 and v3 of tf-slim, by their authors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "torch")  # TensorFlow loads Keras, which decides once
import numpy as np
import tensorflow as tf
import tf_keras
import tf_keras.src.legacy_tf_layers as legacy_tf_layers

tf_keras.legacy_tf_layers = sys.modules["tf_keras.legacy_tf_layers"] = legacy_tf_layers  # where tf-slim looks for it
import tf_slim as slim
from tf_slim.nets import inception_v1, inception_v2, inception_v3

from parity.recipe import Answer
from parity.rows import Row, Size

tf1 = tf.compat.v1
BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


def slim_peer(row: Row, tensors: Mapping[str, np.ndarray], size: Size, double: bool) -> Callable[[np.ndarray], Answer]:
    """The peer of a row with our tensors in it, for pixels of this size."""
    aux = size in row.aux_sizes
    images, logits, points, variables = _graph(row, size, aux, double)
    fetches = {"logits": logits, **{stage: points[point] for stage, point in _STAGES[row.network].items()}}
    if aux:
        fetches["aux"] = points["AuxLogits"]
    wanted = _values(variables, {k: v for k, v in tensors.items() if aux or not k.startswith("aux")})

    def run(pixels: np.ndarray) -> Answer:
        with _session(images.graph, variables, wanted) as session:
            found: dict[str, Any] = session.run(fetches, {images: pixels.transpose(0, 2, 3, 1)})
        heads = {"mixed_6e": found.pop("aux")} if aux else {}
        return Answer(found.pop("logits"), heads, {k: v.transpose(0, 3, 1, 2) for k, v in found.items()})

    return run


def slim_files(row: Row, tensors: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """The peer's own checkpoint with our tensors in it."""
    size = row.sizes[0]
    images, _, _, variables = _graph(row, size, size in row.aux_sizes, double=False)
    with _session(images.graph, variables, _values(variables, tensors)) as session:
        tf1.train.Saver(variables).save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    return [folder / "model.ckpt"]


def _graph(row: Row, size: Size, aux: bool, double: bool) -> tuple[Any, Any, dict[str, Any], list[Any]]:
    graph = tf1.Graph()
    # The fused batch norm has no float64.
    fusion = slim.arg_scope([slim.batch_norm], fused=False) if double else nullcontext()
    with graph.as_default(), fusion:
        images = tf1.placeholder(tf.float64 if double else tf.float32, (None, *size, 3))
        logits, points = _NETWORKS[row.network](images, row, aux)
        variables = sorted(tf1.global_variables(), key=lambda variable: "AuxLogits" in variable.op.name)
    return images, logits, points, variables


@contextmanager
def _session(graph: Any, variables: list[Any], values: list[np.ndarray]) -> Iterator[Any]:
    settings = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with graph.as_default(), tf1.Session(graph=graph, config=settings) as session:
        for variable, value in zip(variables, values, strict=True):
            variable.load(value, session)
        yield session


_LEAVES = {
    "weight": ("weights", "depthwise_weights", "pointwise_weights"),
    "bias": ("biases", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}


def _values(variables: list[Any], tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Our tensors in the order and the layout of theirs; gammas, which slim has none of, left out."""
    ours = [(name, value) for name, value in tensors.items() if not name.endswith("norm.weight")]
    if len(ours) != len(variables):
        raise ValueError(f"{len(ours)} tensors of ours for {len(variables)} of theirs")
    values = []
    for (name, value), variable in zip(ours, variables, strict=True):
        shape = tuple(variable.shape)
        if "linear" in name and value.ndim == 2:
            value = value.T.reshape(1, 1, *value.T.shape)
        elif value.ndim == 4:
            value = value.transpose(2, 3, 0, 1) if "depthwise" in name else value.transpose(2, 3, 1, 0)
        if "depthwise" in name:
            value = value.reshape(shape)  # (7, 7, 24, 1) -> (7, 7, 3, 8)
        if value.shape != shape or variable.op.name.rpartition("/")[2] not in _LEAVES[name.rpartition(".")[2]]:
            raise ValueError(f"{name} {value.shape} does not fit {variable.op.name} {shape}")
        values.append(value)
    return values


def _v1(images: Any, row: Row, aux: bool) -> tuple[Any, dict[str, Any]]:
    classes = row.options["num_classes"]
    with slim.arg_scope(inception_v1.inception_v1_arg_scope()):
        if images.shape[1] == 224:
            return inception_v1.inception_v1(images, num_classes=classes, is_training=False)
        # Its head pools 7x7 whatever the size: at others the trunk is its own, under a mean over the whole grid.
        with slim.arg_scope([slim.batch_norm], is_training=False):
            net, points = inception_v1.inception_v1_base(images)
        mean = tf.reduce_mean(net, axis=(1, 2), keepdims=True)
        logits = slim.conv2d(mean, classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Logits")
    return tf.squeeze(logits, (1, 2)), points


def _v2(images: Any, row: Row, aux: bool) -> tuple[Any, dict[str, Any]]:
    with slim.arg_scope(inception_v2.inception_v2_arg_scope()):
        return inception_v2.inception_v2(images, num_classes=row.options["num_classes"], is_training=False)


def _v3(images: Any, row: Row, aux: bool) -> tuple[Any, dict[str, Any]]:
    with slim.arg_scope(inception_v3.inception_v3_arg_scope(use_fused_batchnorm=images.dtype != tf.float64)):
        return inception_v3.inception_v3(
            images, num_classes=row.options["num_classes"], is_training=False, create_aux_logits=aux
        )


_NETWORKS = {"googlenet": _v1, "bn_inception": _v2, "inception_v3": _v3}


def _shifted(*grids: tuple[int, str]) -> dict[str, str]:
    """Our blocks 3a, 3b, ...; slim's are one letter on: Mixed_3b, Mixed_3c."""
    return {f"inception_{grid}{letter}": f"Mixed_{grid}{chr(ord(letter) + 1)}"
            for grid, letters in grids for letter in letters}  # fmt: skip


_STEM_V1 = {
    "conv1": "Conv2d_1a_7x7", "pool1": "MaxPool_2a_3x3", "conv2_reduce": "Conv2d_2b_1x1", "conv2": "Conv2d_2c_3x3",
    "pool2": "MaxPool_3a_3x3",
}  # fmt: skip
_STAGES = {
    "googlenet": {
        **_STEM_V1, **_shifted((3, "ab"), (4, "abcde"), (5, "ab")), "pool3": "MaxPool_4a_3x3",
        "pool4": "MaxPool_5a_2x2",
    },
    # There the letters restart in the block that halves the grid: 3c is Mixed_4a, 4e is Mixed_5a.
    "bn_inception": {
        **_STEM_V1, **_shifted((3, "ab"), (4, "abcd"), (5, "ab")), "inception_3c": "Mixed_4a",
        "inception_4e": "Mixed_5a",
    },
    "inception_v3": {
        "conv_1a": "Conv2d_1a_3x3", "conv_2a": "Conv2d_2a_3x3", "conv_2b": "Conv2d_2b_3x3", "pool_3a": "MaxPool_3a_3x3",
        "conv_3b": "Conv2d_3b_1x1", "conv_4a": "Conv2d_4a_3x3", "pool_5a": "MaxPool_5a_3x3",
        **{f"mixed_{block}": f"Mixed_{block}" for block in BLOCKS},
    },
}  # fmt: skip
