"""Operators that conversion keeps whole: the runtimes have them, and answer as PyTorch does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptions.engines import open_engine
from inceptions.engines.onnx_runtime import to_onnx
from inceptions.engines.openvino import compiled, quantize, to_openvino
from inceptions.engines.prepared import Prepared
from inceptions.image import Preprocess
from inceptions.layers import LRN, Head, convolution, max_pool
from inceptions.passes import whole_operators
from inceptions.zoo import Network
from inceptions.zoo.network import Table

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def net() -> Network:
    """A convolution, response normalization, a pool that rounds up (as Caffe's do) to 8, another convolution."""
    torch.manual_seed(0)
    conv = convolution()
    stages = (("conv", conv(16, 3)), ("lrn", LRN(alpha=0.5)), ("pool", max_pool(3, 2, "ceil")), ("last", conv(16)))
    net = Network(Table(stages=stages, head=Head()), num_classes=7, input_size=16).eval()
    net.preprocess = Preprocess(size=(16, 16))
    return net


def images(n: int = 8) -> Tensor:
    return torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def kinds(graph: Any) -> list[str]:
    return [op.get_type_name() for op in graph.get_ops()]


def test_response_normalization_is_one_operator_in_every_runtime(net: Network) -> None:
    found = kinds(to_openvino(Prepared(net), images()))
    assert (found.count("LRN"), found.count("AvgPool"), found.count("Power")) == (1, 0, 0)
    onnx = pytest.importorskip("onnx")
    nodes = [node.op_type for node in onnx.load_from_string(to_onnx(Prepared(net), images())).graph.node]
    assert (nodes.count("LRN"), nodes.count("Pow")) == (1, 0)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_its_size_alpha_beta_and_k_arrive(net: Network, engine: str) -> None:
    pytest.importorskip(engine)
    assert net.preprocess is not None
    logits = net(net.preprocess.normalize(images()))
    assert torch.allclose(open_engine(net, engine=engine)(images()), logits, atol=1e-5)
    without = Network(
        Table(stages=tuple(stage for stage in net.table.stages if stage[0] != "lrn"), head=Head()), num_classes=7
    )
    without.load_state_dict(net.state_dict())
    assert not torch.allclose(without(net.preprocess.normalize(images())), logits, atol=1e-3), "LRN must matter here"


def test_a_module_is_as_before_when_it_was_exported(net: Network) -> None:
    prepared = Prepared(net)
    before = [type(module) for module in prepared.modules()]
    with whole_operators(prepared):
        assert [type(module) for module in prepared.modules()] != before
    assert [type(module) for module in prepared.modules()] == before
    assert any(issubclass(kind, nn.LocalResponseNorm) for kind in before)


def test_a_convolution_behind_a_pool_that_rounds_up_is_computed_in_8_bits(net: Network) -> None:
    graph = to_openvino(Prepared(net), images())
    pools = [op.get_attributes() for op in graph.get_ops() if op.get_type_name() == "MaxPool"]
    assert [(pool["rounding_type"], pool["pads_end"]) for pool in pools] == [("floor", [1, 1])]
    model = compiled(quantize(graph, [images()]), images().shape, "int8", 1)
    ran = {
        op.get_friendly_name(): op.get_rt_info()["primitiveType"]
        for op in model.get_runtime_model().get_ops()
        if op.get_rt_info()["layerType"].astype(str) == "Convolution"
    }
    assert len(ran) == 2
    assert all("I8" in str(kind.astype(str)) for kind in ran.values()), ran
