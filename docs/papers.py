"""What the papers' tables and figures print, row by row, and which of our stages it is."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A row of a paper's table."""

    what: str
    size: str
    """height x width x channels after the row, as printed."""
    stage: str
    """Our stage that ends where the row ends."""


def _blocks(prefix: str, name: str, letters: str, sizes: dict[str, str]) -> list[Row]:
    return [Row(f"{name} ({prefix}{letter})", sizes[letter], f"inception_{prefix}{letter}") for letter in letters]


TABLES: dict[str, list[Row]] = {
    # 1409.4842, table 1
    "googlenet": [
        Row("convolution 7x7/2", "112x112x64", "conv1"),
        Row("max pool 3x3/2", "56x56x64", "pool1"),
        Row("convolution 1x1, 3x3", "56x56x192", "conv2"),
        Row("max pool 3x3/2", "28x28x192", "pool2"),
        *_blocks("3", "inception", "ab", {"a": "28x28x256", "b": "28x28x480"}),
        Row("max pool 3x3/2", "14x14x480", "pool3"),
        *_blocks("4", "inception", "abcde", {**dict.fromkeys("abc", "14x14x512"), "d": "14x14x528", "e": "14x14x832"}),
        Row("max pool 3x3/2", "7x7x832", "pool4"),
        *_blocks("5", "inception", "ab", {"a": "7x7x832", "b": "7x7x1024"}),
    ],
    # 1502.03167, figure 5
    "bn_inception": [
        Row("convolution 7x7/2", "112x112x64", "conv1"),
        Row("max pool 3x3/2", "56x56x64", "pool1"),
        Row("convolution 1x1, 3x3", "56x56x192", "conv2"),
        Row("max pool 3x3/2", "28x28x192", "pool2"),
        *_blocks("3", "inception", "abc", {"a": "28x28x256", "b": "28x28x320", "c": "28x28x576"}),
        *_blocks("4", "inception", "abcde", {**dict.fromkeys("abcd", "14x14x576"), "e": "14x14x1024"}),
        *_blocks("5", "inception", "ab", dict.fromkeys("ab", "7x7x1024")),
    ],
    # 1512.00567, table 1 (which prints what goes *into* a row; here is what comes out)
    "inception_v3": [
        Row("convolution 3x3/2", "149x149x32", "conv_1a"),
        Row("convolution 3x3", "147x147x32", "conv_2a"),
        Row("convolution 3x3, padded", "147x147x64", "conv_2b"),
        Row("pool 3x3/2", "73x73x64", "pool_3a"),
        Row("convolution 3x3", "71x71x80", "conv_3b"),
        Row("convolution 3x3/2", "35x35x192", "pool_5a"),
        Row("convolution 3x3, then 3 x Inception (figure 5)", "35x35x288", "mixed_5d"),
        Row("5 x Inception (figure 6)", "17x17x768", "mixed_6e"),
        Row("2 x Inception (figure 7)", "8x8x2048", "mixed_7c"),
    ],
    # 1602.07261, figures 3 and 9
    "inception_v4": [
        Row("stem", "35x35x384", "mixed_5a"),
        Row("4 x Inception-A", "35x35x384", "mixed_5e"),
        Row("Reduction-A", "17x17x1024", "mixed_6a"),
        Row("7 x Inception-B", "17x17x1024", "mixed_6h"),
        Row("Reduction-B", "8x8x1536", "mixed_7a"),
        Row("3 x Inception-C", "8x8x1536", "mixed_7d"),
    ],
    # 1602.07261, figure 15 with figures 10 to 14
    "inception_resnet_v1": [
        Row("stem", "35x35x256", "conv_4b"),
        Row("5 x Inception-ResNet-A", "35x35x256", "block35_5"),
        Row("Reduction-A", "17x17x896", "mixed_6a"),
        Row("10 x Inception-ResNet-B", "17x17x896", "block17_10"),
        Row("Reduction-B", "8x8x1792", "mixed_7a"),
        Row("5 x Inception-ResNet-C", "8x8x1792", "block8_last"),
    ],
    # 1602.07261, figure 15 with figures 16 to 19
    "inception_resnet_v2": [
        Row("stem", "35x35x384", "mixed_5b"),
        Row("5 x Inception-ResNet-A", "35x35x384", "block35_10"),
        Row("Reduction-A", "17x17x1152", "mixed_6a"),
        Row("10 x Inception-ResNet-B", "17x17x1152", "block17_20"),
        Row("Reduction-B", "8x8x2144", "mixed_7a"),
        Row("5 x Inception-ResNet-C", "8x8x2144", "block8_last"),
    ],
    # 1610.02357, figure 5
    "xception": [
        Row("entry flow: convolutions", "147x147x64", "conv2"),
        Row("entry flow: 128 channels", "74x74x128", "block2"),
        Row("entry flow: 256 channels", "37x37x256", "block3"),
        Row("entry flow: 728 channels", "19x19x728", "block4"),
        Row("middle flow, 8 times", "19x19x728", "block12"),
        Row("exit flow: residual block", "10x10x1024", "block13"),
        Row("exit flow: 1536, 2048", "10x10x2048", "block14"),
    ],
}
