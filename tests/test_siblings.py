"""1x1 convolutions of one input, computed as one: the same numbers from fewer calls."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inceptions import create_model
from inceptions.engines.prepared import Prepared
from inceptions.image import Preprocess
from inceptions.passes import SiblingsModule, merge_siblings

BLOCKS = {
    "googlenet": 9,
    "bn_inception": 10,
    "inception_v3": 10,  # 3 on the first grid, 4 on the second, 2 on the third, and mixed_7a, which halves the second
    "inception_v4": 16,  # 4, 7, 3, mixed_4a of the stem, and mixed_7a
    "inception_resnet_v1": 22,  # 5, 10, 6, and the one that halves the second grid
    "inception_resnet_v2": 42,  # 10, 20, 10, mixed_5b of the stem, and mixed_7a
    "xception": 0,
}
"""network -> blocks in which several branches begin with a 1x1 convolution."""


def _prepared(model: str) -> Prepared:
    torch.manual_seed(0)
    net = create_model(model, num_classes=5, width=0.1)
    net.preprocess = Preprocess(size=(96, 96))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    return Prepared(net)


@pytest.mark.parametrize("model", BLOCKS)
def test_merged_siblings_give_the_same_answer_with_fewer_convolutions(model: str) -> None:
    separate, merged = _prepared(model), _prepared(model)
    blocks = merge_siblings(merged)
    assert blocks == sum(isinstance(module, SiblingsModule) for module in merged.modules()) == BLOCKS[model]

    def count(module: nn.Module) -> int:
        return sum(isinstance(part, nn.Conv2d) for part in module.modules())

    assert count(separate) - count(merged) >= blocks
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.inference_mode():
        for expected, found in zip(separate(images), merged(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
