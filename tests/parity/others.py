"""Looks inside other people's networks: torchvision's and timm's models are counted, and checked by the principles.

    make parity                             runs this last
    .parity/bin/python tests/parity/others.py

torchvision publishes parameters and multiply-adds with its weights; of timm's, PyTorch's own counter says them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))
from inceptions.anatomy import cost, principles
from parity.torch_peers import timm, torchvision

# One of each kind of design: plain, residual, dense, aggregated, searched, attention of all sorts, tokens only.
TIMM = """
    resnet50 inception_v3 inception_v4 inception_resnet_v2 xception41 legacy_xception mobilenetv3_large_100
    mobilenetv4_conv_small efficientnet_b0 tf_efficientnet_b0 densenet121 convnext_tiny vit_tiny_patch16_224
    swin_tiny_patch4_window7_224 mixer_b16_224 ghostnet_100 dla34 hrnet_w18 res2net50_26w_4s nfnet_f0 repvgg_a0
    cspresnet50 ese_vovnet39b selecsls42b dpn68 senet154 skresnet18 resnest14d regnetx_002 levit_128 pvt_v2_b0
    maxvit_tiny_tf_224 edgenext_small fastvit_t8 efficientvit_b0 rexnet_100 mobilevit_s tresnet_m vgg16
    sebotnet33ts_256 halonet26t lambda_resnet26t eca_resnet33ts poolformer_s12 xcit_nano_12_p16_224 crossvit_9_240
    focalnet_tiny_srf inception_next_tiny convmixer_768_32 gcvit_xxtiny davit_tiny mvitv2_tiny nest_tiny
    twins_pcpvt_small convit_tiny hiera_tiny_224 efficientformer_l1 starnet_s1 repvit_m0_9 rdnet_tiny tiny_vit_5m_224
    mambaout_femto
"""

Case = tuple[str, nn.Module, int, int, float]
"""Name, network, side of the image, parameters and multiply-adds in billions as others say."""


def of_torchvision() -> Iterator[Case]:
    """Every classifier that it publishes weights of."""
    for name in torchvision.models.list_models(module=torchvision.models):
        facts = torchvision.models.get_model_weights(name).DEFAULT.meta
        crop = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
        extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        extra |= {"aux_logits": False} if name == "googlenet" else {}  # counted so
        extra |= {"image_size": crop} if name.startswith("vit") else {}
        yield (
            f"torchvision.{name}",
            torchvision.models.get_model(name, weights=None, **extra),
            crop,
            facts["num_params"],
            facts["_ops"],
        )


def of_timm() -> Iterator[Case]:
    """Those of the list, counted by PyTorch."""
    for name in TIMM.split():
        with torch.device("meta"):
            net = timm.create_model(name).eval()
        side = net.default_cfg["input_size"][-1]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.empty(1, 3, side, side, device="meta"))
        parameters = sum(parameter.numel() for parameter in net.parameters())
        yield f"timm.{name}", net, side, parameters, counter.get_total_flops() / 2e9


def main() -> int:
    """Print a line for each, and count those that differ."""
    bad = 0
    for cases in (of_torchvision(), of_timm()):
        for name, net, side, parameters, billions in cases:
            start = time.perf_counter()
            counted = cost(net.eval(), side)
            found = principles(net, side)
            good = counted.parameters == parameters and abs(counted.multiply_adds / 1e9 - billions) <= 0.0006
            bad += not good
            broken = sorted({finding.principle for finding in found if not finding.kept})
            print(
                f"{'ok ' if good else 'BAD'} {name:36} {counted.parameters:>11,} of {parameters:,}; "
                f"{counted.multiply_adds / 1e9:.3f} G of {billions:.3f}; {len(found)} checks, broken: "
                f"{', '.join(broken) or 'none'}; {time.perf_counter() - start:.1f} s",
                flush=True,
            )
    return bad


if __name__ == "__main__":
    sys.exit(min(main(), 1))
