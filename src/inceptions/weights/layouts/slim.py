"""The layouts of TensorFlow's own publishers: TF-slim, facenet, DeepLab, and the graph of 2015-12-05 behind the FID.

slim keeps a class 0, "background", before the thousand; its batch norms have no gamma. It evaluated on the central
87.5 % of each side, resized as TensorFlow 1 did it.
"""

from __future__ import annotations

from collections.abc import Iterable

from inceptions.weights.layouts.layout import Layout, published
from inceptions.zoo.publishers import PUBLISHED

# --- blocks: slim's scopes of the convolutions of one, in the order of ours; "1:0b_3x3" is Branch_1/Conv2d_0b_3x3 -----

V1_BLOCK = "0:0a_1x1 1:0a_1x1 1:0b_3x3 2:0a_1x1 2:0b_3x3 3:0b_1x1"
V2_BLOCK = "0:0a_1x1 1:0a_1x1 1:0b_3x3 2:0a_1x1 2:0b_3x3 2:0c_3x3 3:0b_1x1"
V2_REDUCTION = "0:0a_1x1 0:1a_3x3 1:0a_1x1 1:0b_3x3 1:1a_3x3"

V3_A = "0:0a_1x1 1:0a_1x1 1:0b_5x5 2:0a_1x1 2:0b_3x3 2:0c_3x3 3:0b_1x1"
V3_B = "0:1a_1x1 1:0a_1x1 1:0b_3x3 1:1a_1x1"  # the strided 3x3 convolutions are called 1x1
V3_C = "0:0a_1x1 1:0a_1x1 1:0b_1x7 1:0c_7x1 2:0a_1x1 2:0b_7x1 2:0c_1x7 2:0d_7x1 2:0e_1x7 3:0b_1x1"
V3_D = "0:0a_1x1 0:1a_3x3 1:0a_1x1 1:0b_1x7 1:0c_7x1 1:1a_3x3"
V3_E = "0:0a_1x1 1:0a_1x1 1:0b_1x3 1:0c_3x1 2:0a_1x1 2:0b_3x3 2:0c_1x3 2:0d_3x1 3:0b_1x1"

V4_A = "0:0a_1x1 1:0a_1x1 1:0b_3x3 2:0a_1x1 2:0b_3x3 2:0c_3x3 3:0b_1x1"
V4_C = "0:0a_1x1 1:0a_1x1 1:0b_1x3 1:0c_3x1 2:0a_1x1 2:0b_3x1 2:0c_1x3 2:0d_1x3 2:0e_3x1 3:0b_1x1"
REDUCTION_A = "0:1a_3x3 1:0a_1x1 1:0b_3x3 1:1a_3x3"

MIXED_5B = "0:1x1 1:0a_1x1 1:0b_5x5 2:0a_1x1 2:0b_3x3 2:0c_3x3 3:0b_1x1"
BLOCK35 = "0:1x1 1:0a_1x1 1:0b_3x3 2:0a_1x1 2:0b_3x3 2:0c_3x3"
BLOCK17 = "0:1x1 1:0a_1x1 1:0b_1x7 1:0c_7x1"
BLOCK8 = "0:1x1 1:0a_1x1 1:0b_1x3 1:0c_3x1"
RESNET_REDUCTION_B = "0:0a_1x1 0:1a_3x3 1:0a_1x1 1:1a_3x3 2:0a_1x1 2:0b_3x3 2:1a_3x3"


def _in(block: str, convolutions: str) -> list[str]:
    """The scopes of a block's convolutions."""
    pairs = (convolution.split(":") for convolution in convolutions.split())
    return [f"{block}/Branch_{branch}/Conv2d_{detail}" for branch, detail in pairs]


def _conv_bn(scopes: Iterable[str]) -> list[str]:
    """Each convolution and its batch norm."""
    return [module for scope in scopes for module in (scope, f"{scope}/BatchNorm")]


def _aux(*scopes: str, classifier: str) -> tuple[str, ...]:
    return (*_conv_bn(f"AuxLogits/{scope}" for scope in scopes), f"AuxLogits/{classifier}")


def _slim(
    network: str, scope: str, body: Iterable[str], head: str, size: int, *, tap: str = "", aux: Iterable[str] = (),
) -> Layout:  # fmt: skip
    """A network of slim's, all under one scope."""
    return Layout(
        name="TF-slim",
        network=network,
        dialect="slim",
        body=tuple(f"{scope}/{name}" for name in body),
        heads=(f"{scope}/{head}",),
        aux={tap: tuple(f"{scope}/{name}" for name in aux)} if tap else {},
        options=PUBLISHED["tf_slim"][network],
        preprocess=published(size, 0.875, "tf1_bilinear", resize="central"),
    )


# --- slim -----------------------------------------------------------------------------------------------------------


def _inception_v1() -> Layout:
    scopes = ["Conv2d_1a_7x7", "Conv2d_2b_1x1", "Conv2d_2c_3x3"]
    for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        odd = V1_BLOCK.replace("2:0b", "2:0a")  # in one block the 3x3 convolution has the letter of the 1x1
        scopes += _in(f"Mixed_{block}", odd if block == "5b" else V1_BLOCK)
    return _slim("googlenet", "InceptionV1", _conv_bn(scopes), "Logits/Conv2d_0c_1x1", 224)


def _inception_v2() -> Layout:
    scopes = ["Conv2d_2b_1x1", "Conv2d_2c_3x3"]
    for block in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c"):
        scopes += _in(f"Mixed_{block}", V2_REDUCTION if block.endswith("a") else V2_BLOCK)
    first = ["Conv2d_1a_7x7"] * 2  # depthwise and pointwise part of one scope; biased, not normalized
    return _slim("bn_inception", "InceptionV2", [*first, *_conv_bn(scopes)], "Logits/Conv2d_1c_1x1", 224)


def _inception_v3() -> Layout:
    scopes = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    blocks = {"5b": V3_A, "5c": V3_A, "5d": V3_A, "6a": V3_B, **{f"6{letter}": V3_C for letter in "bcde"}, "7a": V3_D}
    for block, convolutions in {**blocks, "7b": V3_E.replace("1:0c_3x1", "1:0b_3x1"), "7c": V3_E}.items():
        scopes += _in(f"Mixed_{block}", convolutions)
    odd = {
        "Mixed_5c/Branch_1/Conv2d_0a_1x1": "Mixed_5c/Branch_1/Conv2d_0b_1x1",
        "Mixed_5c/Branch_1/Conv2d_0b_5x5": "Mixed_5c/Branch_1/Conv_1_0c_5x5",
    }
    return _slim(
        "inception_v3", "InceptionV3", _conv_bn(odd.get(scope, scope) for scope in scopes), "Logits/Conv2d_1c_1x1", 299,
        tap="mixed_6e", aux=_aux("Conv2d_1b_1x1", "Conv2d_2a_5x5", classifier="Conv2d_2b_1x1"),
    )  # fmt: skip


def _inception_v4() -> Layout:
    scopes = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Mixed_3a/Branch_1/Conv2d_0a_3x3"]
    blocks = {
        "4a": "0:0a_1x1 0:1a_3x3 1:0a_1x1 1:0b_1x7 1:0c_7x1 1:1a_3x3",
        "5a": "0:1a_3x3",
        **{f"5{letter}": V4_A for letter in "bcde"},
        "6a": REDUCTION_A,
        **{f"6{letter}": V3_C for letter in "bcdefgh"},
        "7a": V3_D,
        **{f"7{letter}": V4_C for letter in "bcd"},
    }
    for block, convolutions in blocks.items():
        scopes += _in(f"Mixed_{block}", convolutions)
    return _slim(
        "inception_v4", "InceptionV4", _conv_bn(scopes), "Logits/Logits", 299,
        tap="mixed_6h", aux=_aux("Conv2d_1b_1x1", "Conv2d_2a", classifier="Aux_logits"),
    )  # fmt: skip


def _residual(block: str, convolutions: str) -> list[str]:
    """A residual block: its convolutions, and the 1x1 behind them, which has a bias and no batch norm."""
    return [*_conv_bn(_in(block, convolutions)), f"{block}/Conv2d_1x1"]


def _residual_body(counts: tuple[int, int, int], stem: Iterable[str]) -> list[str]:
    body = [*stem]
    for repeat, name, count, convolutions, reduction in (
        ("Repeat", "block35", counts[0], BLOCK35, ("Mixed_6a", REDUCTION_A)),
        ("Repeat_1", "block17", counts[1], BLOCK17, ("Mixed_7a", RESNET_REDUCTION_B)),
        ("Repeat_2", "block8", counts[2], BLOCK8, None),
    ):
        for index in range(1, count + 1):
            body += _residual(f"{repeat}/{name}_{index}", convolutions)
        body += _conv_bn(_in(*reduction)) if reduction else []
    return body + _residual("Block8", BLOCK8)


RESNET_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")


def _inception_resnet_v2() -> Layout:
    body = _residual_body((10, 20, 9), _conv_bn([*RESNET_STEM, *_in("Mixed_5b", MIXED_5B)]))
    return _slim(
        "inception_resnet_v2", "InceptionResnetV2", [*body, *_conv_bn(["Conv2d_7b_1x1"])], "Logits/Logits", 299,
        tap="block17_20", aux=_aux("Conv2d_1b_1x1", "Conv2d_2a_5x5", classifier="Logits"),
    )  # fmt: skip


# --- facenet, DeepLab, the FID's graph --------------------------------------------------------------------------------


def _facenet() -> Layout:
    body = _residual_body((5, 10, 5), _conv_bn([*RESNET_STEM, "Conv2d_4b_3x3"]))
    scope = "InceptionResnetV1"
    return Layout(
        name="facenet",
        network="inception_resnet_v1",
        dialect="slim",
        body=tuple(f"{scope}/{name}" for name in body),
        heads=("Logits",),
        bottleneck=(f"{scope}/Bottleneck", f"{scope}/Bottleneck/BatchNorm"),
        options=PUBLISHED["facenet"]["inception_resnet_v1"],
        # (pixel - 127.5) / 128 of a face that was found and cut out beforehand
        preprocess=published(160, 1.0, "bilinear", (127.5,) * 3, (128.0,) * 3, value_range=255.0, resize="stretch"),
        labels=None,
        classes=8631,
    )


def _deeplab(network: str, entries: int, middles: int) -> Layout:
    """Xception-41, 65 or 71 as classifiers. A separable convolution is two scopes, each with its batch norm."""
    scope = network.replace("xception", "xception_")
    units = [*(f"entry_flow/block{number}/unit_1" for number in range(1, entries + 1))]
    units += [f"middle_flow/block1/unit_{index}" for index in range(1, middles + 1)]
    units += ["exit_flow/block1/unit_1", "exit_flow/block2/unit_1"]
    scopes = ["entry_flow/conv1_1", "entry_flow/conv1_2"]
    for unit in units:
        module = f"{unit}/xception_module"
        for number in (1, 2, 3):
            scopes += [f"{module}/separable_conv{number}_{part}" for part in ("depthwise", "pointwise")]
        if "middle" not in unit and "exit_flow/block2" not in unit:
            scopes.append(f"{module}/shortcut")
    return Layout(
        name="DeepLab",
        network=network,
        dialect="slim",
        body=tuple(f"{scope}/{name}" for name in _conv_bn(scopes)),
        heads=(f"{scope}/logits",),
        preprocess=published(299, 0.875, "tf1_bilinear", resize="central"),
    )


def _tower(block: str, name: str, convolutions: int, pair: bool = False) -> list[str]:
    """The convolutions of a tower, numbered from the second on; a `pair` side by side at its end."""
    counted = [f"{block}/{name}/conv{f'_{index}' if index else ''}" for index in range(convolutions)]
    return counted + ([f"{block}/{name}/mixed/conv", f"{block}/{name}/mixed/conv_1"] if pair else [])


def _inception_2015() -> Layout:
    units = ["conv", "conv_1", "conv_2", "conv_3", "conv_4"]
    for block in ("mixed", "mixed_1", "mixed_2"):
        units += [
            f"{block}/conv",
            *_tower(block, "tower", 2),
            *_tower(block, "tower_1", 3),
            *_tower(block, "tower_2", 1),
        ]
    units += ["mixed_3/conv", *_tower("mixed_3", "tower", 3)]
    for block in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        units += [
            f"{block}/conv",
            *_tower(block, "tower", 3),
            *_tower(block, "tower_1", 5),
            *_tower(block, "tower_2", 1),
        ]
    units += [*_tower("mixed_8", "tower", 2), *_tower("mixed_8", "tower_1", 4)]
    for block in ("mixed_9", "mixed_10"):
        units += [f"{block}/conv", *_tower(block, "tower", 1, True), *_tower(block, "tower_1", 2, True)]
        units += _tower(block, "tower_2", 1)
    return Layout(
        name="2015-12-05",
        network="inception_v3",
        dialect="slim",
        body=tuple(module for unit in units for module in (unit, f"{unit}/batchnorm")),
        heads=("softmax",),
        options=PUBLISHED["fid_2015"]["inception_v3"],
        # the graph itself resizes the whole image as TensorFlow 1 did, and computes (pixel - 128) / 128
        preprocess=published(
            299, 1.0, "tf1_bilinear", (128.0,) * 3, (128.0,) * 3, value_range=255.0, resize="stretch"
        ),
        labels=None,
        classes=1008,
    )  # fmt: skip


LAYOUTS = (
    _inception_v1(),
    _inception_v2(),
    _inception_v3(),
    _inception_v4(),
    _inception_resnet_v2(),
    _facenet(),
    _deeplab("xception41", 3, 8),
    _deeplab("xception65", 3, 16),
    _deeplab("xception71", 5, 16),
    _inception_2015(),
)
