"""Passes over a built network that make it faster without changing what it computes.

fast_for_training  a cheaper order for training steps: the same bits, or equal within half precision
fold_batch_norm    norms into the convolutions in front of them: exact up to rounding
merge_siblings     1x1 convolutions on one input as one
equalize           channels of one range, for int8
whole_operators    what runtimes have as one operator, exported as one
"""

from __future__ import annotations

from inceptions.passes.equalize import equalize
from inceptions.passes.fold import fold_batch_norm
from inceptions.passes.operators import onnx_translations, openvino_extensions, pad_rounded_pools, whole_operators
from inceptions.passes.siblings import SiblingsModule, merge_siblings
from inceptions.passes.training import fast_for_training

__all__ = [
    "SiblingsModule",
    "equalize",
    "fast_for_training",
    "fold_batch_norm",
    "merge_siblings",
    "onnx_translations",
    "openvino_extensions",
    "pad_rounded_pools",
    "whole_operators",
]
