"""Tables as plain data: a published table survives JSON, a rewrite is stored with its weights, nonsense is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptions.cli import main
from inceptions.layers import Layer, Pool
from inceptions.weights import artifact
from inceptions.weights.defaults import default_preprocess
from inceptions.zoo import MEMBERS, Table, build
from inceptions.zoo.plain import from_plain, to_plain
from inceptions.zoo.variants import changed
from tiny import write_images


def averaging(table: Table) -> Table:
    """Average pools in the place of maxima lose no accuracy."""
    return changed(table, Pool, where=lambda pool: pool.kind == "max" and pool.stride == 1, kind="avg")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_published_table_is_the_same_after_json(name: str) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(MEMBERS[name].table)))) == MEMBERS[name].table


def test_a_rewritten_network_is_stored_with_its_weights_and_opens_without_the_rewrite(tmp_path: Path) -> None:
    table = averaging(MEMBERS["googlenet"].table)
    net = build("googlenet", table=table, width=0.1, depth=0.3, num_classes=2).eval()
    net.preprocess, net.classes = default_preprocess(net), ("a", "b")
    artifact.save(net, tmp_path / "model")
    again = artifact.load(tmp_path / "model")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(images), net(images))
    assert again.table == net.table
    assert again.table != build("googlenet", width=0.1, depth=0.3, num_classes=2).table


def nonsense() -> list[tuple[str, Any, str]]:
    plain = to_plain(MEMBERS["googlenet"].table)
    first = {**plain, "stages": [["conv1", {"is": "Conv", "out_channels": 8}]], "aux": [], "runs": []}

    def with_first(layer: object) -> dict[str, Any]:
        return {**first, "stages": [["conv1", layer]]}

    deep: Any = {"is": "Identity"}
    for _ in range(100):
        deep = {"is": "Chain", "layers": [deep]}
    return [
        ("text", "a table", "an object that says what it is"),
        ("unknown kind", with_first({"is": "System"}), "one of Act"),
        ("a kind out of place", with_first({"is": "BatchNorm"}), "no place here"),
        ("unknown field", with_first({"is": "Conv", "out_channels": 8, "path": "/"}), "has no 'path'"),
        ("missing field", with_first({"is": "Conv"}), "out_channels"),
        ("a bool for a number", with_first({"is": "Conv", "out_channels": True}), "not allowed"),
        ("a negative number", with_first({"is": "Conv", "out_channels": -1}), "not allowed"),
        ("a number without end", with_first({"is": "Conv", "out_channels": 10**12}), "not allowed"),
        ("a word that is no choice", with_first({"is": "Conv", "out_channels": 8, "padding": "some"}), "not allowed"),
        ("a kernel of one number", with_first({"is": "Conv", "out_channels": 8, "kernel": [3]}), "a list of 2"),
        ("too deep", with_first(deep), "at most"),
        ("no rows", {**first, "stages": []}, "names of their own"),
        ("a name twice", {**first, "stages": first["stages"] * 2}, "names of their own"),
        ("a run of no row", {**first, "runs": [["conv1", "conv9"]]}, "must be rows"),
    ]


@pytest.mark.parametrize(("value", "message"), [case[1:] for case in nonsense()], ids=[case[0] for case in nonsense()])
def test_what_is_no_table_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(value)
    with pytest.raises(ValueError, match=message):
        build("googlenet", table=value) if isinstance(value, dict) else from_plain(value)


def test_every_layer_of_the_vocabulary_can_be_stored() -> None:
    from inceptions import layers
    from inceptions.zoo.plain import KINDS

    records = {name for name in layers.__all__ if hasattr(getattr(layers, name), "__dataclass_fields__")}
    assert records <= {*KINDS}
    assert Layer not in KINDS.values()


def test_a_study_of_ones_own_compares_the_rewrite_with_the_published_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "data", train=4, val=2)
    (tmp_path / "my_ideas.py").write_text(
        "from inceptions.layers import Pool\nfrom inceptions.zoo.variants import changed\n\n\n"
        "def averaging(table):\n    '''Averages do as well.'''\n"
        "    return changed(table, Pool, where=lambda pool: pool.stride == 1, kind='avg')\n\n\n"
        "def nothing(table):\n    return table\n"
    )
    monkeypatch.chdir(tmp_path)
    words = (
        "--model googlenet --width 0.05 --depth 0.2 --stem small --img-size 32 --epochs 1 --batch-size 8 --workers 0"
    )
    command = [
        "study",
        "rewrite",
        "data",
        *words.split(),
        "--crop",
        "none",
        "--seeds",
        "1",
        "--output",
        "out",
        "--json",
    ]
    assert main([*command, "--rewrite", "my_ideas:averaging"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in found["arms"]] == ["as published", "averaging"]
    assert found["claim"] == "Averages do as well."
    nets = [artifact.load(folder / "seed-0") for folder in (Path("out/as-published"), Path("out/averaging"))]
    kinds = [{pool.kind for pool in pools(net.table)} for net in nets]
    assert kinds == [{"max"}, {"max", "avg"}]
    for wrong, message in (
        ("my_ideas:nothing", "changes nothing"),
        ("my_ideas:none", "has no attribute"),
        ("x", "MODULE:"),
    ):
        assert main([*command, "--rewrite", wrong]) == 2
        assert message in capsys.readouterr().err


def pools(table: Table) -> list[Pool]:
    found: list[Pool] = []
    changed(table, Pool, where=lambda pool: not found.append(pool))  # type: ignore[func-returns-value]
    return found
