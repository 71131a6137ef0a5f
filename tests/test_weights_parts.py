"""Whatever people put around and beside a network in a PyTorch file, the network is found; of several one is chosen."""

from __future__ import annotations

import argparse
import json
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from inceptions import create_model
from inceptions.cli import main
from inceptions.errors import DataError
from inceptions.weights import load_weights, network_in
from inceptions.weights.layouts import LAYOUTS, choose
from inceptions.weights.locate import read
from test_weights_torch import state_dict

X = "xception/timm"
State = dict[str, Tensor]


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def times(factor: float, state: State) -> State:
    """Another network of the same names."""
    return {name: tensor * factor if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def counted(state: State) -> State:
    """With what thop leaves in every module, the nameless outermost one too."""
    modules = {name.rpartition(".")[0] for name in state}
    modules |= {module.rpartition(".")[0] for module in modules} | {""}
    counters = {f"{module}.{kind}" for module in modules for kind in ("total_ops", "total_params")}
    return state | {name.lstrip("."): torch.zeros(1, dtype=torch.float64) for name in counters}


def chosen(content: object, folder: Path, part: str | None = None) -> Any:
    torch.save(content, folder / "w.pth")
    return choose(read(folder / "w.pth"), LAYOUTS, part)


def same(found: Any, state: State) -> bool:
    weights = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    tensors = found.checkpoint.tensors
    return tensors.keys() == weights.keys() and all(torch.equal(weights[name], tensors[name]) for name in weights)


# --- one network ------------------------------------------------------------------------------------------------------

ONE = torch.tensor(0.9)
WRAPPED: dict[str, Callable[[State], object]] = {
    "nothing": lambda s: s,
    "DataParallel, a metric as a tensor": lambda s: {"state_dict": under("module.", s), "best_acc1": ONE, "epoch": 9},
    "a metric in front": lambda s: {"acc": ONE, "model": s},
    "a metric among the names": lambda s: {"best_loss": ONE, **s},
    "SWA's AveragedModel": lambda s: {"n_averaged": torch.tensor(7), **under("module.", s)},
    "compiled in DDP": lambda s: under("module._orig_mod.", s),
    "DDP in compiled": lambda s: under("_orig_mod.module.", s),
    "wrapped twice": lambda s: {"model": under("net.module._orig_mod.", s)},
    "FSDP in every block": lambda s: {
        "_fsdp_wrapped_module." + name.replace(".rep.", "._fsdp_wrapped_module._checkpoint_wrapped_module.rep."): tensor
        for name, tensor in s.items()
    },
    "a backbone": lambda s: {"state_dict": under("backbone.", s)},
    "an encoder": lambda s: {"model": under("module.encoder.", s)},
    "a loss with weights": lambda s: {"state_dict": {"criterion.weight": torch.ones(10), **under("model.", s)}},
    "losses beside the names": lambda s: {"loss_fn.pos_weight": torch.ones(3), "criterion.weight": torch.ones(3), **s},
    "metrics": lambda s: {
        "state_dict": under("net.", s)
        | {"val_acc.tp": torch.zeros(9, dtype=torch.int64), "train_metrics.confmat": torch.zeros(9, 9)}
    },
    "counters of operations": counted,
    "no counters of batches": lambda s: {name: t for name, t in s.items() if not name.endswith("num_batches_tracked")},
    "deep": lambda s: {"a": OrderedDict(b=OrderedDict(c={"d": OrderedDict(under("e.f.", s))}))},
    "a list": lambda s: [{"lr": 0.1}, s],
    "a pair": lambda s: (s, {"epoch": 3}),
    "fastai": lambda s: {"model": s, "opt": {"state": [{"grad_avg": ONE}], "hypers": [{"lr": 0.1}]}},
    "DeepSpeed": lambda s: {"module": s, "optimizer": None, "global_steps": 5, "ds_config": {"seed": 2**31 - 2}},
    "an optimizer": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"step": ONE, "exp_avg": torch.ones(2, 2)}}, "param_groups": [{"params": [0]}]},
    },
    "states of random numbers": lambda s: {"model": s, "rng": torch.get_rng_state(), "python": random.getstate()},
    "large numbers": lambda s: {"state_dict": s, "seed": 2**31 - 2, "torch_seed": 2**63 - 1, "time": -(10**18)},
    "parameters": lambda s: {k: torch.nn.Parameter(t) if t.is_floating_point() else t for k, t in s.items()},
    "two names of one network": lambda s: {"state_dict": under("model.", s) | under("net.", s)},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_the_network_is_found_in_whatever_was_put_around_it(how: str, tmp_path: Path) -> None:
    state = state_dict(X)
    assert same(chosen(WRAPPED[how](state), tmp_path), state)


@pytest.mark.parametrize("prefix", ["model.", "module.backbone.", "_orig_mod."])
def test_prefixes_are_taken_off_in_safetensors_too(prefix: str, tmp_path: Path) -> None:
    state = state_dict(X)
    save_file(under(prefix, state), tmp_path / "model.safetensors")
    assert same(choose(read(tmp_path / "model.safetensors"), LAYOUTS), state)


def test_what_is_left_out_is_named_in_one_line(tmp_path: Path) -> None:
    content = {"state_dict": {"criterion.weight": torch.ones(3), **under("model.", state_dict(X))}, "best_acc1": ONE}
    (line,) = chosen(content, tmp_path).notes
    assert "left out" in line
    assert "criterion" in line
    assert "best_acc1" in line
    assert not chosen({"model": state_dict(X), "epoch": 3}, tmp_path).notes


def test_a_head_in_an_attribute_of_its_own_stays_with_its_body(tmp_path: Path) -> None:
    body = {name: tensor for name, tensor in state_dict(X).items() if not name.startswith("fc.")}
    head = {"head.fc.weight": torch.ones(5, 20), "head.fc.bias": torch.zeros(5)}
    found = chosen({"state_dict": under("backbone.", body) | head, "meta": {"epoch": 3}}, tmp_path)
    assert same(found, body | head)


def test_a_second_classifier_is_not_left_out_in_silence(tmp_path: Path) -> None:
    """It may work on the first one's outputs, or on the features instead of it; only the user knows."""
    content = {**under("backbone.", state_dict(X)), "classifier.weight": torch.ones(5, 20)}
    assert "classifier.weight" in chosen(content, tmp_path).checkpoint.tensors
    assert same(chosen(content, tmp_path, "backbone"), state_dict(X))


def test_a_module_within_the_body_makes_another_network(tmp_path: Path) -> None:
    torch.save({**state_dict(X), "block1.attention.weight": torch.ones(3, 3, 1, 1)}, tmp_path / "w.pth")
    for classes in (None, 3):
        with pytest.raises(DataError, match=r"has no place for 1 .*block1\.attention$"):
            create_model("xception", weights=tmp_path / "w.pth", num_classes=classes, width=0.01)


def test_an_unknown_head_stops_nobody_who_gives_num_classes(tmp_path: Path) -> None:
    body = {name: tensor for name, tensor in state_dict(X).items() if not name.startswith("fc.")}
    torch.save({**body, "neck.conv.weight": torch.ones(8, 20, 1, 1), "cls.W": torch.ones(4, 8)}, tmp_path / "w.pth")
    assert create_model("xception", weights=tmp_path / "w.pth", num_classes=4, width=0.01).num_classes == 4
    with pytest.raises(DataError, match="give num_classes"):
        create_model("xception", weights=tmp_path / "w.pth", width=0.01)


def test_names_that_two_tensors_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"called a\.b\.weight"):
        chosen({"a": {"b.weight": ONE}, "a.b": {"weight": ONE}}, tmp_path)


# --- several networks -------------------------------------------------------------------------------------------------

MOVED = times(1.5, state_dict(X))
AVERAGES: dict[str, Callable[[State, State], object]] = {
    "torchvision": lambda raw, avg: {"model": raw, "model_ema": {"n_averaged": ONE, **under("module.", avg)}},
    "timm": lambda raw, avg: {"state_dict": raw, "state_dict_ema": under("module.", avg), "metric": 80.1},
    "ema": lambda raw, avg: {"model": raw, "ema": avg},
    "ema_state_dict": lambda raw, avg: {"state_dict": raw, "ema_state_dict": {"module": avg, "decay": 0.9}},
    "within the names": lambda raw, avg: {"state_dict": under("model.", raw) | under("model_ema.module.", avg)},
    "camel case": lambda raw, avg: under("net.", raw) | under("netEMA.", avg),
    "ema-pytorch": lambda raw, avg: under("online_model.", raw) | under("ema_model.", avg) | {"step": ONE},
    "a callback of Lightning's": lambda raw, avg: {
        "state_dict": under("model.", raw),
        "callbacks": {"StochasticWeightAveraging": {"average_model_state": under("model.", avg)}},
    },
    "Lightning's averaging": lambda raw, avg: {
        "state_dict": under("model.", avg), "current_model_state": under("model.", raw), "averaging_state": {},
    },
    "MMEngine": lambda raw, avg: {
        "state_dict": under("backbone.", avg),
        "ema_state_dict": {"steps": torch.tensor(3), **under("module.backbone.", raw)},
    },
    "parameters alone": lambda raw, avg: {
        "model": raw, "shadow": {k: t for k, t in avg.items() if k.rpartition(".")[2] in ("weight", "bias")},
    },
}  # fmt: skip


@pytest.mark.parametrize("how", AVERAGES)
def test_the_average_is_taken_and_said_unless_the_weights_as_trained_are_asked_for(how: str, tmp_path: Path) -> None:
    raw, average = state_dict(X), MOVED
    content = AVERAGES[how](raw, average)
    if how == "parameters alone":  # the statistics of batch norm are the trained network's
        average = {name: raw[name] if "running" in name else tensor for name, tensor in average.items()}
    found = chosen(content, tmp_path)
    assert same(found, average)
    assert found.part == "ema"
    assert any("average" in line and "--weights-part model" in line for line in found.notes)
    assert same(chosen(content, tmp_path, "ema"), average)
    trained = chosen(content, tmp_path, "model")
    assert same(trained, raw)
    assert trained.part == "model"


def test_networks_that_differ_are_chosen_by_name_alone(tmp_path: Path) -> None:
    raw, other = state_dict(X), MOVED
    content = {"state_dict": under("student.", raw) | under("teacher.", other)}
    for part in (None, "model"):
        with pytest.raises(DataError, match=r"2 networks: .*student.*teacher.*--weights-part"):
            chosen(content, tmp_path, part)
    assert same(chosen(content, tmp_path, "student"), raw)
    assert same(chosen(content, tmp_path, "state_dict.teacher"), other)
    assert chosen(content, tmp_path, "teacher").part == "state_dict.teacher"
    with pytest.raises(DataError, match=r"no network called master.*student.*teacher"):
        chosen(content, tmp_path, "master")


def test_an_average_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no network called ema"):
        chosen({"model": state_dict(X)}, tmp_path, "ema")
    with pytest.raises(DataError, match=r"no network called model.*ema \(an average\)"):
        chosen({"ema": state_dict(X)}, tmp_path, "model")


def test_the_network_asked_for_is_found_beside_another_ones(tmp_path: Path) -> None:
    content = {"model": state_dict(X), "other": state_dict("inception_v3/torchvision")}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"2 networks: model, other"):
        network_in(tmp_path / "w.pth")
    assert network_in(tmp_path / "w.pth", "other") == "inception_v3"
    assert create_model("xception", weights=tmp_path / "w.pth", width=0.01).name == "xception"


def test_a_network_that_a_metric_is_made_of_is_left_out(tmp_path: Path) -> None:
    content = under("model.", state_dict(X)) | under("val_fid.inception.", MOVED)
    found = chosen(content, tmp_path)
    assert same(found, state_dict(X))
    assert any("val_fid" in line for line in found.notes)
    assert same(chosen(content, tmp_path, "val_fid"), MOVED)


def test_the_part_is_part_of_the_provenance(tmp_path: Path) -> None:
    torch.save({"model": state_dict(X), "model_ema": MOVED}, tmp_path / "w.pth")
    for part in ("ema", "model"):
        loaded = load_weights(tmp_path / "w.pth", options={"width": 0.01}, part=part)
        assert loaded.provenance["weights_part"] == part
    net = create_model("xception", weights=tmp_path / "w.pth", weights_part="model", width=0.01)
    assert torch.equal(net.head.linear.weight, state_dict(X)["fc.weight"])


def test_convert_takes_the_part_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": state_dict(X), "model_ema": MOVED}, tmp_path / "w.pth")
    words = ["weights", "convert", str(tmp_path / "w.pth"), str(tmp_path / "out"), "--options.width", "0.01", "--json"]
    for part, given in (("ema", []), ("model", ["--weights-part", "model"])):
        assert main([*words, *given]) == 0
        assert json.loads(capsys.readouterr().out)["weights_part"] == part


# --- objects of other programs ----------------------------------------------------------------------------------------


class Settings(dict[str, Any]):
    """As Lightning's AttributeDict and others."""


class History(list[Any]):
    """A list of somebody's own."""


BESIDE: dict[str, object] = {
    "a namespace": argparse.Namespace(lr=0.1, seed=2**40),
    "a simple namespace": SimpleNamespace(lr=0.1),
    "a NumPy number": np.float64(0.78),
    "a NumPy array": np.arange(5),
    "a path": Path("data"),
    "a dictionary of somebody's own": Settings(lr=0.1, betas=(0.9, 0.999)),
    "a list of somebody's own": History([1, 2]),
    "a queue": deque([1, 2, 3]),
    "a default dictionary": defaultdict(list, a=[1]),
    "a class": Settings,
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("how", BESIDE)
@pytest.mark.parametrize("new", [True, False], ids=["new", "old"])
def test_objects_beside_the_weights_are_left_and_never_built(how: str, new: bool, tmp_path: Path) -> None:
    state = state_dict(X)
    content = {"hyper_parameters": BESIDE[how], "state_dict": state, "again": [BESIDE[how]]}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    assert same(choose(read(tmp_path / "w.pth"), LAYOUTS), state)


def test_a_whole_module_is_refused_with_how_to_save_its_weights(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    state = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    for content in (torch.nn.Linear(2, 2), {"model": module, "epoch": 3}, {"model": module, **state}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(DataError, match=r"Python objects \(.*Linear.*torch\.save\(model\.state_dict\(\)"):
            choose(read(tmp_path / "w.pth"), LAYOUTS)


# --- divided files ----------------------------------------------------------------------------------------------------


def divided(folder: Path, state: State, **index: Any) -> Path:
    names = sorted(state)
    files = [f"model-{n + 1:05d}-of-00002.safetensors" for n in range(2)]
    for file, part in zip(files, (names[:100], names[100:]), strict=True):
        save_file({name: state[name] for name in part}, folder / file)
    places = {name: files[place >= 100] for place, name in enumerate(names)}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": places, **index}))
    return path


def test_weights_divided_into_several_files_are_one_network(tmp_path: Path) -> None:
    state = state_dict(X)
    index = divided(tmp_path, under("model.", state))
    assert same(choose(read(index), LAYOUTS), state)
    assert network_in(tmp_path) == "xception"  # a folder of the hub's form
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"missing next to it: model-00002-of-00002\.safetensors"):
        read(index)


@pytest.mark.parametrize(
    "places",
    [{"a": "../w.safetensors"}, {"a": "/etc/passwd"}, {"a": 3}, [], None, {"a": "model.safetensors.index.json"}],
    ids=str,
)
def test_an_index_that_leads_elsewhere_is_refused(places: object, tmp_path: Path) -> None:
    index = divided(tmp_path, state_dict(X), weight_map=places)
    with pytest.raises(DataError, match=r"index\.json"):
        read(index)
