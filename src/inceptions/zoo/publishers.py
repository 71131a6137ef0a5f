"""Publishers' networks: where a public implementation differs from the published table, by name.

`build("googlenet", **PUBLISHED["torchvision"]["googlenet"])` is torchvision's GoogLeNet; each option is a rewrite of
`variants`. That the numbers are theirs is proven by logits in the parity tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIXED_GAMMA: Mapping[str, Any] = {"norm_scale": False}
_FACENET = {"bottleneck": 512}

PUBLISHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "torchvision": {
        "googlenet": {"norm": "batch", "five": "3x3", "fourth_pool": "2x2", "aux_pool": "adaptive"},
        "inception_v3": {"include_border": True},
    },
    "tf_slim": {
        "googlenet": {
            **_FIXED_GAMMA, "norm": "batch", "five": "3x3", "fourth_pool": "2x2", "padding": "tf_same",
        },
        "bn_inception": {
            **_FIXED_GAMMA, "first_conv": "separable", "late_pool_width": 96, "padding": "tf_same",
            "include_border": False, "conv_bias": False,
        },
        "inception_v3": _FIXED_GAMMA,
        "inception_v4": _FIXED_GAMMA,
        "inception_resnet_v2": _FIXED_GAMMA,
    },
    "keras": {"inception_v3": _FIXED_GAMMA, "inception_resnet_v2": _FIXED_GAMMA},
    "fid_2015": {"inception_v3": {"last_pool": "max"}},
    "pytorch_fid": {"inception_v3": {"include_border": False, "last_pool": "max"}},
    "facenet": {"inception_resnet_v1": {**_FIXED_GAMMA, **_FACENET}},
    "facenet_pytorch": {"inception_resnet_v1": _FACENET},
    "cadene": {"bn_inception": {"norm_eps": 1e-5}, "xception": {"padding": "symmetric", "norm_eps": 1e-5}},
    "caffe_googlenet_bn": {"bn_inception": {"norm_eps": 1e-5, "late_pool_width": 96, "conv_bias": False}},
    "tsn": {"bn_inception": {"norm_eps": 1e-5}},
}  # fmt: skip
"""publisher -> network -> options."""
