"""The table of proofs: which network, with which options, is which peer's network, and at which sizes it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network against one independent implementation of it."""

    network: str
    peer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that make our network the peer's."""
    sizes: tuple[Size, Size]
    """(height, width): the published size, and another one of another parity."""
    golden: tuple[Size, Size]
    """The sizes whose numbers are kept for the ordinary tests: small ones, or where an auxiliary head can be read."""
    aux_sizes: tuple[Size, ...] = ()
    """The sizes at which the peer's auxiliary heads fit."""
    gain: float = 1.45
    """Variance of the kernels times fan-in. About 1.45 keeps images and statistics both visible through a deep chain
    with the recipe's batch norms; 2 does so without them, and less where shortcuts carry the image."""
    amplitude: float = 1.0
    """Standard deviation of the images."""
    double: bool = True
    """The peer computes in float64 too."""

    @property
    def name(self) -> str:
        return f"{self.network}/{self.peer}"


TORCHVISION_V1 = {"norm": "batch", "five": "3x3", "fourth_pool": "2x2", "aux_pool": "adaptive", "aux": True}
SLIM = {"num_classes": 1001, "norm_scale": False}
PYTORCH_XCEPTION = {"padding": "symmetric", "norm_eps": 1e-5}
ODD, OTHER = (107, 107), (96, 123)
LARGE = (299, 299)

ROWS = (
    # Caffe's fully connected layers of the auxiliary heads fit one grid only, 4 x 4.
    Row(
        network="googlenet", peer="caffe", options={"aux": True}, gain=2.0, amplitude=70.0, double=False,
        sizes=((224, 224), (107, 131)), golden=((224, 224), (107, 131)), aux_sizes=((224, 224),),
    ),
    Row(
        network="googlenet", peer="torchvision", options=TORCHVISION_V1, sizes=((224, 224), (107, 131)),
        golden=((224, 224), (107, 131)), aux_sizes=((224, 224), (107, 131)),
    ),
    Row(
        network="googlenet", peer="slim", sizes=((224, 224), ODD), golden=(ODD, (96, 96)),
        options={**SLIM, "norm": "batch", "five": "3x3", "fourth_pool": "2x2", "padding": "tf_same"},
    ),
    # Caffe's reductions join a convolution and a pool that is rounded up: even grids only.
    Row(
        network="bn_inception", peer="cadene", options={"norm_eps": 1e-5}, sizes=((224, 224), (160, 128)),
        golden=((96, 128), (64, 96)),
    ),
    Row(
        network="bn_inception", peer="caffe", options={"norm_eps": 1e-5}, sizes=((224, 224), (160, 128)), double=False,
        golden=((96, 128), (64, 96)),
    ),
    Row(
        network="bn_inception", peer="slim", sizes=((224, 224), ODD), golden=(ODD, (96, 96)),
        options={
            **SLIM, "first_conv": "separable", "late_pool_width": 96, "padding": "tf_same", "include_border": False,
            "conv_bias": False,
        },
    ),
    # v3's auxiliary head fits grids of 17 to 19 only: images of 299 to 346 px.
    Row(
        network="inception_v3", peer="torchvision", options={"include_border": True, "aux": True},
        sizes=(LARGE, (128, 139)), golden=(LARGE, (128, 139)), aux_sizes=(LARGE,),
    ),
    Row(
        network="inception_v3", peer="timm", options={"include_border": True, "aux": True},
        sizes=(LARGE, (331, 320)), golden=(ODD, OTHER), aux_sizes=(LARGE, (331, 320)),
    ),
    Row(
        network="inception_v3", peer="keras", options={"norm_scale": False}, sizes=(LARGE, (128, 139)),
        golden=(ODD, OTHER),
    ),
    Row(
        network="inception_v3", peer="slim", options={**SLIM, "aux": True}, sizes=(LARGE, ODD),
        golden=(ODD, (96, 96)), aux_sizes=(LARGE,),
    ),
    Row(
        network="inception_v3", peer="fid", options={"last_pool": "max", "num_classes": 1008},
        sizes=(LARGE, (128, 139)), golden=(ODD, OTHER),
    ),
    Row(network="inception_v4", peer="timm", sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(network="inception_v4", peer="cadene", sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(
        network="inception_resnet_v1", peer="facenet", options={"bottleneck": 512, "num_classes": 8631},
        sizes=((160, 160), LARGE), golden=((139, 128), OTHER),
    ),
    Row(network="inception_resnet_v2", peer="timm", sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(network="inception_resnet_v2", peer="cadene", sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(
        network="inception_resnet_v2", peer="keras", options={"norm_scale": False}, sizes=(LARGE, (128, 139)),
        golden=(ODD, OTHER),
    ),
    Row(
        network="xception", peer="timm", options=PYTORCH_XCEPTION, gain=0.7, sizes=(LARGE, (128, 139)),
        golden=(ODD, OTHER),
    ),
    Row(
        network="xception", peer="cadene", options=PYTORCH_XCEPTION, gain=0.7, sizes=(LARGE, (128, 139)),
        golden=(ODD, OTHER),
    ),
    Row(network="xception", peer="keras", gain=0.7, sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(network="xception41", peer="timm", gain=0.5, sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(network="xception65", peer="timm", gain=0.5, sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
    Row(network="xception71", peer="timm", gain=0.5, sizes=(LARGE, (128, 139)), golden=(ODD, OTHER)),
)  # fmt: skip
