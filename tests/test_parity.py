"""Every network gives the numbers of an independent implementation of it, and a planted error takes them away.

The numbers in tests/golden/parity are the *peers'*: written by `tests/parity/prove.py`, which ran torchvision, timm,
Keras, TensorFlow, Caffe's definitions and others with the weights of tests/parity/recipe.py. Here our networks run with
the same weights, where none of the peers is installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from torch import nn

from inceptions.layers import borders, composition
from inceptions.zoo import MEMBERS, Network, build, list_models
from parity.recipe import answer, filled, images, listing, listing_distance, listing_tensors, signature
from parity.rows import ROWS, Row

GOLDEN = Path(__file__).parent / "golden" / "parity"
ALLOWED = {"float32": 1e-5, "float64": 1e-9}


@cache
def record(name: str) -> dict[str, Any]:
    """The numbers of one row: `inception_v3-keras`."""
    content: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return content


NAMES = [row.name.replace("/", "-") for row in ROWS]
CASES = [(name, index) for name in NAMES for index in range(len(ROWS[NAMES.index(name)].golden))]


def network_of(golden: dict[str, Any], **planted: Any) -> Network:
    """The network of a row; with options `planted`, another one of the same tensors, in the same order."""
    network = filled(golden["network"], golden["options"], golden["gain"])
    if planted:
        with torch.device("meta"):
            wrong = build(golden["network"], **{**golden["options"], **planted})
        wrong.load_state_dict(dict(zip(wrong.state_dict(), network.state_dict().values(), strict=True)), assign=True)
        network = wrong.eval()
    return network.double() if golden["precision"] == "float64" else network


def distance(golden: dict[str, Any], index: int, network: Network) -> float:
    """Largest difference from the peer's numbers, in units of what is allowed."""
    case = golden["cases"][index]
    given = answer(network, images(*case["size"], golden["amplitude"]))
    scale = case["all_logits"][0]
    errors = [np.abs(given.logits[:, :4] - np.array(case["logits"])).max() / scale]
    pairs = [(given.logits, case["all_logits"])]
    pairs += [(given.aux[tap], numbers) for tap, numbers in case["aux"].items()]
    pairs += [(given.stages[stage], numbers) for stage, numbers in case["stages"].items()]
    for values, numbers in pairs:
        errors.append(float(np.abs(np.subtract(signature(values), numbers)).max()) / numbers[0])
    worst = max(errors)
    return math.inf if math.isnan(worst) else worst / ALLOWED[golden["precision"]]


# --- the proof ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "index"), CASES, ids=lambda value: str(value))
def test_a_network_gives_the_numbers_of_its_peer(name: str, index: int) -> None:
    golden = record(name)
    assert distance(golden, index, network_of(golden)) <= 1


def test_the_golden_numbers_are_those_of_the_table_of_proofs() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == sorted(NAMES)
    for row in ROWS:
        golden = record(row.name.replace("/", "-"))
        assert golden["options"] == json.loads(json.dumps(dict(row.options)))
        assert (golden["gain"], golden["amplitude"]) == (row.gain, row.amplitude)
        assert [tuple(case["size"]) for case in golden["cases"]] == list(row.golden)
        assert all(case["stages"] for case in golden["cases"])
        assert any(case["aux"] for case in golden["cases"]) == any(size in row.aux_sizes for size in row.golden)


def test_every_network_has_a_peer() -> None:
    assert {row.network for row in ROWS} | {"xception_stride16"} == set(list_models())


PAGES = {"v1": "googlenet", "v2": "bn_inception", "v3": "inception_v3", "v4": "inception_v4", "v5": "xception"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_page_of_a_generation_says_which_arguments_make_it_a_peers(row: Row) -> None:
    page = Path(__file__).parents[1] / "docs" / "family" / f"{PAGES[MEMBERS[row.network].generation]}.md"
    table = page.read_text(encoding="utf-8").partition("## Differences between implementations")[2]
    assert table
    for option, value in row.options.items():
        if MEMBERS[row.network].options[option] != value:
            assert f"`{option}" in table, option


# --- the original notes' listing, by the recipe that its reference came with ----------------------------------------


def test_the_original_listing_is_reproduced_only_with_its_in_place_shortcuts() -> None:
    with torch.device("meta"):
        network = build("xception_stride16")
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    counters = {name: torch.tensor(0) for name in network.state_dict() if name not in names}
    tensors = dict(zip(names, (value.double() for value in listing_tensors().values()), strict=True))
    network.load_state_dict({**counters, **tensors}, assign=True)
    network.eval()
    cases = listing()["cases"]
    assert [case["input_size"] for case in cases] == [32, 96]
    assert all(listing_distance(network, case) <= 1e-6 for case in cases)
    for module in network.modules():
        if isinstance(module, composition.ResidualModule):
            module.rectify = False
    assert all(listing_distance(network, case) > 1e-4 for case in cases)


def test_the_original_listings_tensors_come_in_our_order() -> None:
    with torch.device("meta"):
        network = build("xception_stride16")
    ours = {k: list(v.shape) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert list(ours.values()) == [shape for _, shape in listing()["tensors"]]
    assert [name.rpartition(".")[2] for name in ours] == [n.rpartition(".")[2] for n, _ in listing()["tensors"]]
    assert sum(parameter.numel() for parameter in network.parameters()) == listing()["parameters"]


# --- planted errors: options -----------------------------------------------------------------------------------------

# (golden numbers, case, a wrong option that fits the same tensors)
WRONG_OPTIONS: list[tuple[str, int, dict[str, Any]]] = [
    ("googlenet-caffe", 1, {"padding": "tf_same"}),
    ("googlenet-caffe", 0, {"aux_pool": "adaptive"}),
    ("googlenet-caffe", 1, {"fourth_pool": "2x2"}),
    ("googlenet-torchvision", 0, {"aux_pool": "paper"}),
    ("googlenet-torchvision", 1, {"fourth_pool": "3x3"}),
    ("googlenet-torchvision", 1, {"norm_eps": 1e-5}),
    ("googlenet-torchvision", 1, {"activation": "sigmoid"}),
    ("googlenet-slim", 0, {"padding": "caffe"}),
    ("googlenet-slim", 1, {"padding": "caffe"}),
    ("bn_inception-cadene", 1, {"norm_eps": 1e-3}),
    ("bn_inception-cadene", 1, {"include_border": False}),
    ("bn_inception-cadene", 1, {"last_pool": "avg"}),
    ("bn_inception-caffe", 1, {"padding": "tf_same"}),
    ("bn_inception-slim", 0, {"padding": "caffe"}),
    ("bn_inception-slim", 1, {"include_border": True}),
    ("inception_v3-timm", 1, {"include_border": False}),
    ("inception_v3-timm", 1, {"parallel_reduction": False}),
    ("inception_v3-keras", 1, {"include_border": True}),
    ("inception_v3-keras", 1, {"norm_eps": 1e-5}),
    ("inception_v3-fid", 1, {"last_pool": "avg"}),
    ("inception_v3-slim", 0, {"last_pool": "max"}),
    ("inception_v4-timm", 1, {"include_border": True}),
    ("inception_v4-timm", 1, {"norm_eps": 1.1e-3}),
    ("inception_resnet_v1-facenet", 1, {"scales": (0.17, 0.10, 0.21)}),
    ("inception_resnet_v1-facenet", 1, {"residual": False}),
    ("inception_resnet_v2-timm", 1, {"scales": (0.17, 0.11, 0.20)}),
    ("inception_resnet_v2-timm", 1, {"include_border": True}),
    ("inception_resnet_v2-timm", 1, {"residual": False}),
    ("xception-timm", 1, {"norm_eps": 1e-3}),
    ("xception-timm", 1, {"padding": "tf_same"}),
    ("xception-keras", 0, {"padding": "symmetric"}),
    ("xception-keras", 1, {"rectify": True}),
    ("xception-keras", 1, {"middle_activation": True}),
    ("xception-keras", 1, {"stem_padding": "same"}),
    ("xception-keras", 1, {"block4_stride": 1}),
    ("xception41-timm", 1, {"middle_activation": True}),
    ("xception41-timm", 1, {"norm_eps": 1e-5}),
]


@pytest.mark.parametrize(("name", "index", "planted"), WRONG_OPTIONS, ids=lambda value: str(value))
def test_a_wrong_option_is_seen(name: str, index: int, planted: dict[str, Any]) -> None:
    golden = record(name)
    assert distance(golden, index, network_of(golden, **planted)) > 2


def test_every_option_that_fits_the_same_tensors_is_planted() -> None:
    """The options that a strict reader of weights cannot notice are those that only numbers can."""
    planted = {(table_of(record(name)["network"]), option) for name, _, wrong in WRONG_OPTIONS for option in wrong}
    silent = set()
    for table, network in {table_of(network): network for network in list_models()}.items():
        right = shapes(network)
        for option, values in alternatives(network):
            if any(shapes(network, **{option: value}) == right for value in values):
                silent.add((table, option))
    assert {option for _, option in silent} >= {"padding", "include_border", "last_pool", "rectify", "residual"}
    # Small stems are nobody's published network; auxiliary heads and whether gamma is trained change no logits; and the
    # activation is one word of all tables, planted in one of them.
    elsewhere = ("stem", "aux", "norm_scale", "activation")
    assert {(table, option) for table, option in silent if option not in elsewhere} <= planted


def table_of(network: str) -> tuple[str, ...]:
    """The options that several members may share."""
    return tuple(MEMBERS[network].rewrites)


def alternatives(network: str) -> Iterator[tuple[str, list[Any]]]:
    """Options of a network with a few values to choose from, and those values."""
    for option, default in MEMBERS[network].options.items():
        hint = MEMBERS[network].rewrites[option].hint if option in MEMBERS[network].rewrites else None
        if hint is bool:
            yield option, [not default]
        elif get_origin(hint) is Literal:
            yield option, [value for value in get_args(hint) if value != default]


def shapes(network: str, **options: Any) -> list[torch.Size]:
    """Of its tensors in order, as layouts go by."""
    with torch.device("meta"):
        net = build(network, **{"width": 0.25, "depth": 0.2, **options})
    return [value.shape for value in net.state_dict().values()]


# --- planted errors: in the layers ---------------------------------------------------------------------------------


def first(network: Network, kind: type[nn.Module], stage: str) -> nn.Module:
    return next(module for module in getattr(network.body, stage).modules() if isinstance(module, kind))


def drop_an_activation(network: Network) -> None:
    modules = getattr(network.body, network.stages[-1]).modules()
    next(module for module in modules if hasattr(module, "activation")).activation = nn.Identity()


def exchange_branches(network: Network) -> None:
    block = first(network, composition.BranchesModule, network.stages[-1])
    assert isinstance(block, composition.BranchesModule)
    order = list(block.items())
    block.clear()
    block.update(dict(reversed(order)))


def exchange_a_bank(network: Network) -> None:
    """1x3 beside 3x1, of equal width: which comes first in the sum of channels?"""
    bank = next(
        module
        for module in getattr(network.body, network.stages[-1]).modules()
        if isinstance(module, composition.BranchesModule) and "3x1" in module
    )
    order = list(bank.items())
    bank.clear()
    bank.update(dict(reversed(order)))


def ignore_gamma(network: Network) -> None:
    for module in getattr(network.body, network.stages[-1]).modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


def forget_a_mean(network: Network) -> None:
    norm = first(network, nn.BatchNorm2d, network.stages[0])
    norm.running_mean = torch.zeros_like(norm.running_mean)


def forget_a_bias(network: Network) -> None:
    nn.init.zeros_(first(network, nn.Conv2d, network.stages[3]).bias)


def activate_the_last_sum(network: Network) -> None:
    block = network.body.block8_last
    assert isinstance(block, composition.ResidualModule)
    block.activation = nn.ReLU()


def scale_the_last_sum(network: Network) -> None:
    network.body.block8_last.scale = 0.2


def rectify_the_exit(network: Network) -> None:
    network.body.block13.rectify = True


def leave_out_lrn(network: Network) -> None:
    network.body.norm2 = nn.Identity()


def widen_lrn(network: Network) -> None:
    network.body.norm1.size = 7


def turn_a_kernel(network: Network) -> None:
    """The classic mistake with TensorFlow's layout: height and width exchanged."""
    convolution = first(network, nn.Conv2d, network.stages[1])
    convolution.weight = nn.Parameter(convolution.weight.transpose(2, 3).contiguous())


def read_bgr(network: Network) -> None:
    convolution = first(network, nn.Conv2d, network.stages[0])
    convolution.weight = nn.Parameter(convolution.weight.flip(1))


def drop_an_activation_of_aux(network: Network) -> None:
    network.aux["inception_4d"].activation = nn.Identity()


def head_of_maxima(network: Network) -> None:
    network.head.register_forward_pre_hook(lambda module, inputs: (inputs[0].amax((2, 3), keepdim=True),))


PLANTED: list[tuple[str, Callable[[Network], None]]] = [
    ("googlenet-caffe", leave_out_lrn),
    ("googlenet-caffe", widen_lrn),
    ("googlenet-caffe", forget_a_bias),
    ("googlenet-caffe", read_bgr),
    ("googlenet-torchvision", exchange_branches),
    ("googlenet-torchvision", ignore_gamma),
    ("googlenet-torchvision", drop_an_activation_of_aux),
    ("bn_inception-cadene", forget_a_bias),
    ("bn_inception-cadene", forget_a_mean),
    ("inception_v3-timm", drop_an_activation),
    ("inception_v3-timm", exchange_a_bank),
    ("inception_v3-timm", turn_a_kernel),
    ("inception_v4-timm", exchange_a_bank),
    ("inception_resnet_v1-facenet", activate_the_last_sum),
    ("inception_resnet_v2-timm", activate_the_last_sum),
    ("inception_resnet_v2-timm", scale_the_last_sum),
    ("xception-keras", rectify_the_exit),
    ("xception-keras", head_of_maxima),
    ("xception41-timm", drop_an_activation),
]


@pytest.mark.parametrize(("name", "plant"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_error_is_seen(name: str, plant: Callable[[Network], None]) -> None:
    golden = record(name)
    network = network_of(golden)
    plant(network)
    assert distance(golden, len(golden["cases"]) - 1, network) > 2


def test_a_border_before_instead_of_after_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    golden, right = record("googlenet-slim"), borders.tf_same
    monkeypatch.setattr(borders, "tf_same", lambda *window: right(*window)[::-1])
    assert distance(golden, 1, network_of(golden)) > 2
