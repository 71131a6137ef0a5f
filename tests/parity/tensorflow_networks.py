"""The networks whose weight files `tensorflow_fixtures.py` writes, 8 channels wide.

tf-slim's own inception_v1 to v3; and, from TensorFlow's layers under the published variable names, the networks that
tf-slim's package leaves out: v4, the residual ones, DeepLab's Xception, and the graph of 2015-12-05 that the Frechet
Inception distance is defined by. Each is a function of images in 0..255 and their size, and returns logits by name.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras.src.legacy_tf_layers as legacy_tf_layers

sys.modules["tf_keras.legacy_tf_layers"] = legacy_tf_layers  # where tf-slim looks for it
import tf_keras  # noqa: E402

tf_keras.legacy_tf_layers = legacy_tf_layers
import tf_slim as slim  # noqa: E402
from tf_slim.nets import inception_v1, inception_v2, inception_v3  # noqa: E402

v1 = tf.compat.v1
v1.disable_v2_behavior()

Network = Callable[[tf.Tensor, int], dict[str, tf.Tensor]]
NARROW = 8


def scaled(images: tf.Tensor) -> tf.Tensor:
    """slim's range, -1 to 1."""
    return images / 127.5 - 1.0


# -- tf-slim's own networks


def slim_v1(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    """tf-slim has no width for v1: its convolutions are narrowed from outside."""
    with slim.arg_scope(slim_scope(scale=False)):
        logits, _ = inception_v1.inception_v1(scaled(images), num_classes=1001, is_training=False)
    return {"logits": logits}


def slim_v2(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    """Narrowed from outside too: the multiplier of its first layer depends on its own width."""
    with slim.arg_scope(slim_scope(scale=False)):
        logits, _ = inception_v2.inception_v2(scaled(images), num_classes=1001, is_training=False)
    return {"logits": logits}


def slim_v3(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    with slim.arg_scope(slim_scope(scale=False)):
        logits, ends = inception_v3.inception_v3(
            scaled(images), num_classes=1001, is_training=False, depth_multiplier=0.01, min_depth=NARROW,
            create_aux_logits=size == 299,
        )  # fmt: skip
    return {"logits": logits} | ({"aux": ends["AuxLogits"]} if size == 299 else {})


def slim_scope(scale: bool, bn_scope: str | None = None) -> Any:
    """The arguments of slim's `inception_arg_scope` for evaluation."""
    norm = {"is_training": False, "epsilon": 0.001, "scale": scale, "fused": False}
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm) as scope:
        return scope


def narrow(name: str) -> Callable[..., tf.Tensor]:
    """One of slim's convolutions, `NARROW` wide unless it is the classifier."""
    wide = getattr(slim, name)

    @functools.wraps(wide)
    def layer(inputs: tf.Tensor, num_outputs: int, *args: Any, **kwargs: Any) -> tf.Tensor:
        return wide(inputs, num_outputs if num_outputs == 1001 else NARROW, *args, **kwargs)

    return layer


# -- the published names over TensorFlow's layers


def conv(net: tf.Tensor, scope: str, stride: int = 1, padding: str = "SAME", width: int = NARROW, **kwargs: Any) -> Any:
    """A slim convolution that takes its kernel from the end of its scope, as slim's own names do."""
    height, wide = re.search(r"(\d)x(\d)$", scope).groups()
    return slim.conv2d(net, width, [int(height), int(wide)], stride=stride, padding=padding, scope=scope, **kwargs)


def branches(net: tf.Tensor, *paths: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    outputs = []
    for number, path in enumerate(paths):
        with v1.variable_scope(f"Branch_{number}"):
            outputs.append(path(net))
    return tf.concat(outputs, 3)


def path(*steps: str | Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Steps in a row: scopes of SAME convolutions, scopes with " /2" for strided VALID ones, or functions."""

    def run(net: tf.Tensor) -> tf.Tensor:
        for step in steps:
            if callable(step):
                net = step(net)
            elif step.endswith(" /2"):
                net = conv(net, step[:-3], 2, "VALID")
            elif step.endswith(" V"):
                net = conv(net, step[:-2], 1, "VALID")
            else:
                net = conv(net, step)
        return net

    return run


def both(first: str, second: str) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda net: tf.concat([conv(net, first), conv(net, second)], 3)


def max_pool(net: tf.Tensor) -> tf.Tensor:
    return slim.max_pool2d(net, [3, 3], stride=2, padding="VALID")


def avg_pool(net: tf.Tensor) -> tf.Tensor:
    return slim.avg_pool2d(net, [3, 3], stride=1, padding="SAME")


def mean(net: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(net, [1, 2])


def dense(net: tf.Tensor, width: int, scope: str) -> tf.Tensor:
    return slim.fully_connected(net, width, activation_fn=None, scope=scope)


def aux_head(net: tf.Tensor, first: str, second: str, last: str, classes: int) -> tf.Tensor:
    with v1.variable_scope("AuxLogits"):
        net = slim.avg_pool2d(net, [5, 5], stride=3, padding="VALID")
        net = conv(net, first)
        net = slim.conv2d(net, NARROW, net.shape[1:3].as_list(), padding="VALID", scope=second)
        return dense(slim.flatten(net), classes, last)


def block(name: str, net: tf.Tensor, *paths: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    with v1.variable_scope(name):
        return branches(net, *paths)


def plain_v4(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    """Inception v4 as released (block orders of slim, not of the paper's figures)."""
    with v1.variable_scope("InceptionV4"), slim.arg_scope(slim_scope(scale=False)):
        net = path("Conv2d_1a_3x3 /2", "Conv2d_2a_3x3 V", "Conv2d_2b_3x3")(scaled(images))
        net = block("Mixed_3a", net, max_pool, path("Conv2d_0a_3x3 /2"))
        net = block(
            "Mixed_4a", net, path("Conv2d_0a_1x1", "Conv2d_1a_3x3 V"),
            path("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1", "Conv2d_1a_3x3 V"),
        )  # fmt: skip
        net = block("Mixed_5a", net, path("Conv2d_1a_3x3 /2"), max_pool)
        for letter in "bcde":
            net = block(
                f"Mixed_5{letter}", net, path("Conv2d_0a_1x1"), path("Conv2d_0a_1x1", "Conv2d_0b_3x3"),
                path("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"), path(avg_pool, "Conv2d_0b_1x1"),
            )  # fmt: skip
        net = block(
            "Mixed_6a", net, path("Conv2d_1a_3x3 /2"),
            path("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3 /2"), max_pool,
        )  # fmt: skip
        for letter in "bcdefgh":
            net = block(
                f"Mixed_6{letter}", net, path("Conv2d_0a_1x1"),
                path("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1"),
                path("Conv2d_0a_1x1", "Conv2d_0b_7x1", "Conv2d_0c_1x7", "Conv2d_0d_7x1", "Conv2d_0e_1x7"),
                path(avg_pool, "Conv2d_0b_1x1"),
            )  # fmt: skip
        outputs = {}
        if size == 299:
            outputs["aux"] = aux_head(net, "Conv2d_1b_1x1", "Conv2d_2a", "Aux_logits", 11)
        net = block(
            "Mixed_7a", net, path("Conv2d_0a_1x1", "Conv2d_1a_3x3 /2"),
            path("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1", "Conv2d_1a_3x3 /2"), max_pool,
        )  # fmt: skip
        for letter in "bcd":
            net = block(
                f"Mixed_7{letter}", net, path("Conv2d_0a_1x1"),
                path("Conv2d_0a_1x1", both("Conv2d_0b_1x3", "Conv2d_0c_3x1")),
                path("Conv2d_0a_1x1", "Conv2d_0b_3x1", "Conv2d_0c_1x3", both("Conv2d_0d_1x3", "Conv2d_0e_3x1")),
                path(avg_pool, "Conv2d_0b_1x1"),
            )  # fmt: skip
        with v1.variable_scope("Logits"):
            return {"logits": dense(mean(net), 11, "Logits"), **outputs}


def residual(
    name: str, net: tf.Tensor, scale: float, *paths: Callable[[tf.Tensor], tf.Tensor], relu: bool = True
) -> tf.Tensor:
    with v1.variable_scope(name):
        up = conv(branches(net, *paths), "Conv2d_1x1", width=net.shape[3], normalizer_fn=None, activation_fn=None)
        net += scale * up
        return tf.nn.relu(net) if relu else net


BLOCK35 = (path("Conv2d_1x1"), path("Conv2d_0a_1x1", "Conv2d_0b_3x3"),
           path("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"))  # fmt: skip
BLOCK17 = (path("Conv2d_1x1"), path("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1"))
BLOCK8 = (path("Conv2d_1x1"), path("Conv2d_0a_1x1", "Conv2d_0b_1x3", "Conv2d_0c_3x1"))
REDUCTION_A = (path("Conv2d_1a_3x3 /2"), path("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3 /2"), max_pool)
REDUCTION_B = (path("Conv2d_0a_1x1", "Conv2d_1a_3x3 /2"), path("Conv2d_0a_1x1", "Conv2d_1a_3x3 /2"),
               path("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3 /2"), max_pool)  # fmt: skip


def repeat(number: int, name: str, count: int, net: tf.Tensor, scale: float, paths: tuple[Any, ...]) -> tf.Tensor:
    with v1.variable_scope("Repeat" if number == 0 else f"Repeat_{number}"):
        for index in range(1, count + 1):
            net = residual(f"{name}_{index}", net, scale, *paths)
    return net


def plain_resnet_v2(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    with v1.variable_scope("InceptionResnetV2"), slim.arg_scope(slim_scope(scale=False)):
        net = path("Conv2d_1a_3x3 /2", "Conv2d_2a_3x3 V", "Conv2d_2b_3x3", max_pool)(scaled(images))
        net = path("Conv2d_3b_1x1 V", "Conv2d_4a_3x3 V", max_pool)(net)
        net = block(
            "Mixed_5b", net, path("Conv2d_1x1"), path("Conv2d_0a_1x1", "Conv2d_0b_5x5"),
            path("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"), path(avg_pool, "Conv2d_0b_1x1"),
        )  # fmt: skip
        net = repeat(0, "block35", 10, net, 0.17, BLOCK35)
        net = block("Mixed_6a", net, *REDUCTION_A)
        net = repeat(1, "block17", 20, net, 0.10, BLOCK17)
        outputs = {}
        if size == 299:
            outputs["aux"] = aux_head(net, "Conv2d_1b_1x1", "Conv2d_2a_5x5", "Logits", 11)
        net = block("Mixed_7a", net, *REDUCTION_B)
        net = repeat(2, "block8", 9, net, 0.20, BLOCK8)
        net = residual("Block8", net, 1.0, *BLOCK8, relu=False)
        net = conv(net, "Conv2d_7b_1x1", width=16)  # 1536 * 0.01 to the nearest multiple of 8
        with v1.variable_scope("Logits"):
            return {"logits": dense(mean(net), 11, "Logits"), **outputs}


def facenet(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    """Inception-ResNet v1 as facenet released it: a bottleneck without bias, its classifier outside the scope."""
    scope = slim_scope(scale=False)
    with v1.variable_scope("InceptionResnetV1"), slim.arg_scope(scope):
        net = path("Conv2d_1a_3x3 /2", "Conv2d_2a_3x3 V", "Conv2d_2b_3x3", max_pool)((images - 127.5) / 128.0)
        net = path("Conv2d_3b_1x1 V", "Conv2d_4a_3x3 V", "Conv2d_4b_3x3 /2")(net)
        net = repeat(0, "block35", 5, net, 0.17, BLOCK35)
        net = block("Mixed_6a", net, *REDUCTION_A)
        net = repeat(1, "block17", 10, net, 0.10, BLOCK17)
        net = block("Mixed_7a", net, *REDUCTION_B)
        net = repeat(2, "block8", 5, net, 0.20, BLOCK8)
        net = residual("Block8", net, 1.0, *BLOCK8, relu=False)
        norm = {"is_training": False, "epsilon": 0.001, "fused": False}
        net = slim.fully_connected(
            mean(net),
            512,
            activation_fn=None,
            normalizer_fn=slim.batch_norm,
            normalizer_params=norm,
            scope="Bottleneck",
        )
    return {"logits": dense(net, 11, "Logits")}


def deeplab_41(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    """Xception-41: pre-activation separable convolutions, explicit symmetric borders before strided ones."""

    def fixed(net: tf.Tensor) -> tf.Tensor:
        return tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]])

    def separable(net: tf.Tensor, number: int, width: int, stride: int, inside: bool) -> tf.Tensor:
        activation = tf.nn.relu if inside else None
        scope = f"separable_conv{number}"
        if stride == 2:
            net = fixed(net)
        net = slim.separable_conv2d(
            net, None, [3, 3], depth_multiplier=1, stride=stride, padding="VALID" if stride == 2 else "SAME",
            activation_fn=activation, normalizer_fn=slim.batch_norm, normalizer_params=NORM,
            scope=f"{scope}_depthwise",
        )  # fmt: skip
        return slim.conv2d(net, width, [1, 1], activation_fn=activation, scope=f"{scope}_pointwise")

    def module(net: tf.Tensor, widths: list[int], stride: int, skip: str, inside: bool = False) -> tf.Tensor:
        with v1.variable_scope("xception_module"):
            out = net
            for number, width in enumerate(widths, start=1):
                out = out if inside else tf.nn.relu(out)
                out = separable(out, number, width, stride if number == 3 else 1, inside)
            if skip == "conv":
                return out + slim.conv2d(net, widths[2], [1, 1], stride=stride, activation_fn=None, scope="shortcut")
            return out + net if skip == "sum" else out

    def unit(flow: str, number: int, index: int, net: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        with v1.variable_scope(f"{flow}/block{number}/unit_{index}"):
            return module(net, *args, **kwargs)

    with v1.variable_scope("xception_41"), slim.arg_scope(slim_scope(scale=True)):
        with v1.variable_scope("entry_flow"):
            net = slim.conv2d(fixed(scaled(images)), 8, [3, 3], stride=2, padding="VALID", scope="conv1_1")
            net = slim.conv2d(net, 8, [3, 3], scope="conv1_2")
        for number in (1, 2, 3):
            net = unit("entry_flow", number, 1, net, [8, 8, 8], 2, "conv")
        for index in range(1, 9):
            net = unit("middle_flow", 1, index, net, [8, 8, 8], 1, "sum")
        net = unit("exit_flow", 1, 1, net, [8, 8, 8], 2, "conv")
        net = unit("exit_flow", 2, 1, net, [16, 16, 24], 1, "none", inside=True)
        net = tf.reduce_mean(net, [1, 2], keepdims=True)
        logits = slim.conv2d(net, 1001, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits")
    return {"logits": tf.squeeze(logits, [1, 2])}


NORM = {"is_training": False, "epsilon": 0.001, "scale": True, "fused": False}


def inception_2015(images: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    """The graph of 2015-12-05: its own resize and scaling, and a max pool in the pool branch of its last block."""

    def layer(net: tf.Tensor, scope: str, kernel: tuple[int, int], stride: int = 1, padding: str = "SAME") -> tf.Tensor:
        with v1.variable_scope(scope):
            weights = v1.get_variable("conv2d_params", [*kernel, net.shape[3], NARROW])
            net = tf.nn.conv2d(net, weights, stride, padding, name="Conv2D")
            with v1.variable_scope("batchnorm"):
                beta, gamma, mean, variance = (
                    v1.get_variable(name, [NARROW]) for name in ("beta", "gamma", "moving_mean", "moving_variance")
                )
                net = tf.nn.batch_normalization(net, mean, variance, beta, gamma, 0.001)
            return tf.nn.relu(net)

    def mixed(name: str, net: tf.Tensor, towers: dict[str, list[Any]], pool: Callable[[tf.Tensor], tf.Tensor]) -> Any:
        """Towers in order; an entry is a kernel, (kernel, stride, padding) or a pair of kernels side by side."""
        outputs = []
        with v1.variable_scope(name):
            for tower, entries in towers.items():
                out, counts = (pool(net) if tower == "tower_2" else net), {}
                with v1.variable_scope(tower) if tower != "conv" else v1.variable_scope(v1.get_variable_scope()):
                    for entry in entries:
                        if isinstance(entry, list):
                            with v1.variable_scope("mixed"):
                                out = tf.concat([layer(out, "conv", entry[0]), layer(out, "conv_1", entry[1])], 3)
                            continue
                        kernel, *rest = entry if isinstance(entry[0], tuple) else (entry,)
                        scope = "conv" + (f"_{counts['conv']}" if "conv" in counts else "")
                        counts["conv"] = counts.get("conv", 0) + 1
                        out = layer(out, scope, kernel, *rest)
                outputs.append(out)
            if "tower_2" not in towers:
                outputs.append(pool(net))
            return tf.concat(outputs, 3)

    one, three, five, wide, tall = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)
    strided = (three, 2, "VALID")
    net = v1.image.resize_bilinear(images, [299, 299], name="ResizeBilinear")
    net = (net - 128.0) * 0.0078125
    net = layer(net, "conv", three, 2, "VALID")
    net = layer(net, "conv_1", three, 1, "VALID")
    net = max_pool(layer(net, "conv_2", three))
    net = layer(net, "conv_3", one, 1, "VALID")
    net = max_pool(layer(net, "conv_4", three, 1, "VALID"))
    for name in ("mixed", "mixed_1", "mixed_2"):
        net = mixed(
            name, net, {"conv": [one], "tower": [one, five], "tower_1": [one, three, three], "tower_2": [one]}, avg_pool
        )
    net = mixed("mixed_3", net, {"conv": [strided], "tower": [one, three, strided]}, max_pool)
    for name in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        towers = {"conv": [one], "tower": [one, wide, tall], "tower_1": [one, tall, wide, tall, wide], "tower_2": [one]}
        net = mixed(name, net, towers, avg_pool)
    net = mixed("mixed_8", net, {"tower": [one, strided], "tower_1": [one, wide, tall, strided]}, max_pool)
    for name, pool in (("mixed_9", avg_pool), ("mixed_10", lambda net: slim.max_pool2d(net, 3, 1, padding="SAME"))):
        last = [(1, 3), (3, 1)]
        net = mixed(
            name, net, {"conv": [one], "tower": [one, last], "tower_1": [one, three, last], "tower_2": [one]}, pool
        )
    with v1.variable_scope("softmax"):
        weights = v1.get_variable("weights", [net.shape[3], 1008])
        biases = v1.get_variable("biases", [1008])
        return {"logits": tf.add(tf.matmul(mean(net), weights), biases, name="logits")}


# tf-slim has no width for v1, and the multiplier of v2's first layer depends on its width
for module in (inception_v1, inception_v2):
    module.layers = SimpleNamespace(
        **{**vars(module.layers), **{name: narrow(name) for name in ("conv2d", "separable_conv2d")}}
    )

NETWORKS: dict[str, Network] = {
    "inception_v1": slim_v1,
    "inception_v2": slim_v2,
    "inception_v3": slim_v3,
    "inception_v4": plain_v4,
    "inception_resnet_v2": plain_resnet_v2,
    "facenet": facenet,
    "xception_41": deeplab_41,
    "inception_2015": inception_2015,
}
