"""The artifact: what is saved is loaded, whatever interrupts the writing, and nothing else passes for one."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inceptions.errors import DataError
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.zoo import Network, build

CLASSES = ("cat", "dog, wild", "Große Möwe")
PREPROCESS = Preprocess(size=(72, 80), resize="stretch", crop_pct=0.9, mean=(0.1, 0.2, 0.3), value_range=255.0)


def network(seed: int = 0, **options: Any) -> Network:
    torch.manual_seed(seed)
    net = build("xception", **{"width": 0.01, "depth": 0.125, "num_classes": 3, **options}).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 2)
    net.preprocess, net.classes = PREPROCESS, CLASSES
    return net


def same(left: Network, right: Network) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    artifact.save(network(), tmp_path / "model")
    return tmp_path / "model"


def config(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    content = config(folder)
    how(content)
    (folder / "config.json").write_text(json.dumps(content))


# --- what is saved is loaded ------------------------------------------------------------------------------------------


def test_a_loaded_network_gives_bit_equal_logits(tmp_path: Path) -> None:
    net = network(hidden=(5,), drop_rate=0.25, norm_eps=0.01)
    artifact.save(net, tmp_path / "model")
    loaded = artifact.load(tmp_path / "model")
    images = torch.randn(2, 3, 75, 83)
    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))
    assert loaded.options == net.options
    assert not loaded.training


def test_preprocessing_classes_and_facts_come_back(tmp_path: Path) -> None:
    facts = {"training": {"epochs": 3}, "metrics": {"top1": 0.5}, "provenance": {"source": "x"}, "temperature": 1.5}
    artifact.save(network(), tmp_path / "model", **facts)
    loaded = artifact.load(tmp_path / "model")
    assert loaded.preprocess == PREPROCESS
    assert loaded.classes == CLASSES
    assert loaded.temperature == 1.5
    described = artifact.describe(tmp_path / "model").facts
    assert {key: getattr(described, key) for key in facts} == facts


def test_a_run_folder_is_read_through_its_model(tmp_path: Path) -> None:
    artifact.save(network(), tmp_path / "run" / "model")
    assert artifact.load(tmp_path / "run").classes == CLASSES
    assert artifact.is_artifact(tmp_path / "run")
    assert not artifact.is_artifact(tmp_path)


def test_options_that_are_lists_in_json_build_the_same_network(tmp_path: Path) -> None:
    net = build("inception_resnet_v2", width=0.01, depth=0.05, num_classes=3, scales=(0.1, 0.2, 0.3)).eval()
    net.preprocess, net.classes = Preprocess(size=(75, 75)), CLASSES
    artifact.save(net, tmp_path / "model")
    assert artifact.load(tmp_path / "model").options["scales"] == (0.1, 0.2, 0.3)


def test_a_frozen_scale_stays_frozen(tmp_path: Path) -> None:
    net = network(norm_scale=False)
    artifact.save(net, tmp_path / "model")
    frozen = [name for name, p in artifact.load(tmp_path / "model").named_parameters() if not p.requires_grad]
    assert frozen == [name for name, p in net.named_parameters() if not p.requires_grad] != []


def test_config_has_the_keys_that_timm_and_the_hub_read(saved: Path) -> None:
    content = config(saved)
    assert content["architecture"] == "xception"
    assert content["num_classes"] == 3
    assert content["label_names"] == list(CLASSES)
    assert content["pretrained_cfg"]["input_size"] == [3, 72, 80]
    assert content["inceptions"]["class_to_index"] == {name: index for index, name in enumerate(CLASSES)}


def test_the_card_tells_the_facts_and_cannot_be_made_to_run_a_script(tmp_path: Path) -> None:
    net = network()
    net.classes = ("<script>alert(1)</script>", "a|b", "c`d\n# heading")
    artifact.save(net, tmp_path / "model", metrics={"top1": 0.5})
    card = (tmp_path / "model" / "README.md").read_text()
    assert "xception, 3 classes" in card
    assert "| top1 | 0.5 |" in card
    assert "<script>" not in card
    assert "\n# heading" not in card


def test_the_loaded_tensors_do_not_change_with_the_file(saved: Path) -> None:
    loaded = artifact.load(saved)
    before = loaded.head.linear.weight.clone()
    data = bytearray((saved / "model.safetensors").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    with (saved / "model.safetensors").open("r+b") as file:
        file.write(data)
    assert torch.equal(loaded.head.linear.weight, before)


def test_files_are_readable_as_the_users_mask_says(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    for name in ("model.safetensors", "config.json", "README.md"):
        assert stat.S_IMODE((saved / name).stat().st_mode) == 0o666 & ~mask


# --- what cannot be saved ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "value"),
    [("preprocess", None), ("classes", None), ("classes", ("a", "b")), ("classes", ("a", "a", "b")),
     ("classes", ("a", "b", " ")), ("classes", ("a", "b", 3))],
)  # fmt: skip
def test_a_network_without_what_a_prediction_needs_is_refused(missing: str, value: Any, tmp_path: Path) -> None:
    net = network()
    setattr(net, missing, value)
    with pytest.raises(ValueError, match=missing):
        artifact.save(net, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("facts", [{"metrics": {"loss": float("nan")}}, {"training": {"path": Path()}}])
def test_facts_that_are_no_json_are_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        artifact.save(network(), tmp_path / "model", **facts)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), True])
def test_a_temperature_that_divides_nothing_is_refused(temperature: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="temperature"):
        artifact.save(network(), tmp_path / "model", temperature=temperature)


def test_a_folder_with_other_things_in_it_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        artifact.save(network(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        artifact.save(network(), tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


# --- interruptions ----------------------------------------------------------------------------------------------------

STEPS = ("save_file", "model_card", "flush", "_swap")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_failure_at_any_step_leaves_the_old_artifact_whole(
    step: str, error: BaseException, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(artifact, step, fail)
    with pytest.raises(type(error)):
        artifact.save(network(seed=1), saved)
    assert same(artifact.load(saved), network())
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_failed_second_rename_brings_the_old_artifact_back(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, seen = Path.rename, []

    def fail_second(self: Path, target: Path) -> Path:
        seen.append(target)
        if len(seen) == 2:
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(OSError, match="the disk is gone"):
        artifact.save(network(seed=1), saved)
    assert same(artifact.load(saved), network())


def save_and_die(net: Network, folder: Path, stop: int) -> bool:
    """Saves in a child process that vanishes (no handler runs, as under SIGKILL) before its step number `stop`.

    Returns whether it came to the end.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def dying(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == stop:
                    os._exit(9)
                return function(*arguments, **options)

            return step

        try:
            for owner, name in ((artifact, "save_file"), (artifact, "flush"), (Path, "rename"), (Path, "write_text"),
                                (Path, "mkdir"), (artifact.shutil, "rmtree")):  # fmt: skip
                setattr(owner, name, dying(getattr(owner, name)))
            artifact.save(net, folder)
            os._exit(0)
        finally:
            os._exit(1)  # never back into the test run, of which there would be two
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads: this one only writes files
def test_a_kill_at_any_step_leaves_the_old_or_the_new_artifact_whole(saved: Path) -> None:
    old, new = network(0), network(1)
    states, finished, stop = [], False, 0
    while not finished:
        stop += 1
        artifact.save(old, saved)
        finished = save_and_die(new, saved, stop)
        loaded = artifact.load(saved)
        states.append("new" if same(loaded, new) else "old" if same(loaded, old) else "broken")
    assert stop > 10
    assert states == sorted(states, reverse=True)  # old, ..., old, new, ..., new
    assert {*states} == {"old", "new"}


def test_saving_after_a_kill_between_the_renames_keeps_one_whole_artifact(saved: Path) -> None:
    saved.rename(saved.with_name(".model.previous"))
    assert same(artifact.load(saved), network())
    artifact.save(network(seed=1), saved)
    assert same(artifact.load(saved), network(seed=1))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_what_a_killed_writer_left_is_removed_when_it_is_old(saved: Path) -> None:
    old, young = (saved.with_name(f".model.{age}.new") for age in ("old", "young"))
    old.mkdir()
    young.mkdir()
    os.utime(old, (0, 0))
    artifact.save(network(), saved)
    assert not old.exists()
    assert young.exists()


# --- what is no artifact ----------------------------------------------------------------------------------------------


def test_an_empty_folder_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no model"):
        artifact.load(tmp_path)


def test_a_newer_version_is_named(saved: Path) -> None:
    change(saved, lambda c: c["inceptions"].update(format_version=99))
    with pytest.raises(DataError, match=r"format_version 99.*reads 1"):
        artifact.load(saved)


def _nest(content: dict[str, Any]) -> None:
    content["inceptions"]["network"]["hidden"] = [[1]]


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no block": (lambda c: c.pop("inceptions"), "inceptions is missing"),
    "a list for a block": (lambda c: c.update(inceptions=[]), "inceptions is a list"),
    "version true": (lambda c: c["inceptions"].update(format_version=True), "format_version"),
    "unknown network": (lambda c: c.update(architecture="../../etc/passwd"), "architecture"),
    "network of another type": (lambda c: c.update(architecture=7), "architecture is"),
    "unknown option": (lambda c: c["inceptions"]["network"].update(color="red"), "color"),
    "option of another type": (lambda c: c["inceptions"]["network"].update(norm_eps="small"), "norm_eps"),
    "option of a nested list": (_nest, "hidden"),
    "absurd width": (lambda c: c["inceptions"]["network"].update(width=1e9), "width"),
    "width that is no number": (lambda c: c["inceptions"]["network"].update(width=None), "width"),
    "absurd depth": (lambda c: c["inceptions"]["network"].update(depth=1e9), "depth"),
    "absurd hidden": (lambda c: c["inceptions"]["network"].update(hidden=[10**9]), "hidden"),
    "absurd classes": (lambda c: (c.update(num_classes=10**9), c["inceptions"]["network"].update(num_classes=10**9)),
                       "num_classes"),
    "classes true": (lambda c: (c.update(num_classes=True), c["inceptions"]["network"].update(num_classes=True)),
                     "num_classes"),
    "classes that differ": (lambda c: c.update(num_classes=4), "num_classes"),
    "too few labels": (lambda c: c["label_names"].pop(), "label_names"),
    "labels twice": (lambda c: c["label_names"].__setitem__(0, c["label_names"][1]), "label_names"),
    "labels that are no text": (lambda c: c["label_names"].__setitem__(0, 5), "label_names"),
    "labels that are no list": (lambda c: c.update(label_names="abc"), "label_names is text"),
    "another order": (lambda c: c["label_names"].reverse(), "class_to_index"),
    "no preprocessing": (lambda c: c["inceptions"].pop("preprocess"), "preprocess is missing"),
    "preprocessing too small": (lambda c: c["inceptions"]["preprocess"].update(size=[1, 1]), "at least"),
    "preprocessing of a type": (lambda c: c["inceptions"]["preprocess"].update(mean={}), "preprocess"),
    "preprocessing with more": (lambda c: c["inceptions"]["preprocess"].update(extra=1), "preprocess"),
    "gray images": (lambda c: c["inceptions"]["preprocess"].update(mean=[0.5], std=[0.5]), "channels"),
    "temperature zero": (lambda c: c["inceptions"].update(temperature=0), "temperature"),
    "metrics of another type": (lambda c: c["inceptions"].update(metrics=[1]), "metrics"),
}  # fmt: skip


@pytest.mark.parametrize("how", HOSTILE)
def test_a_config_that_lies_is_refused_by_name(how: str, saved: Path) -> None:
    lie, named = HOSTILE[how]
    change(saved, lie)
    with pytest.raises(DataError, match=named):
        artifact.load(saved)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "NaN", '{"a": Infinity}', "[" * 100_000, "9" * 10_000, "\x00", '{"inceptions": 1'],
    ids=range(10),
)  # fmt: skip
def test_a_config_that_is_no_json_object_is_refused(text: str, saved: Path) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json"):
        artifact.load(saved)


def test_a_config_of_other_bytes_is_refused(saved: Path) -> None:
    (saved / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"config\.json"):
        artifact.load(saved)


def test_missing_tensors_are_an_error(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors is missing"):
        artifact.load(saved)


def _tensors(saved: Path, how: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(saved / "model.safetensors")
    how(tensors)
    save_file(tensors, saved / "model.safetensors")


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (lambda t: t.pop("head.linear.bias"), "head.linear.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(2)), "extra"),
        (lambda t: t.update({"head.linear.bias": torch.zeros(4)}), r"head.linear.bias has shape \(4,\).*\(3,\)"),
        (lambda t: t.update({"head.linear.bias": torch.zeros(3, dtype=torch.bool)}), "head.linear.bias holds BOOL"),
    ],
    ids=["missing", "extra", "shape", "dtype"],
)
def test_tensors_of_another_network_are_refused_by_name(how: Any, named: str, saved: Path) -> None:
    _tensors(saved, how)
    with pytest.raises(DataError, match=named):
        artifact.load(saved)


def test_half_precision_tensors_become_the_networks_own(saved: Path) -> None:
    _tensors(saved, lambda t: t.update({key: value.half() for key, value in t.items() if value.is_floating_point()}))
    assert artifact.load(saved).head.linear.weight.dtype == torch.float32


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_cut_tensors_are_refused(keep: int, saved: Path) -> None:
    data = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        artifact.load(saved)
