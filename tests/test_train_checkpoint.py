"""Checkpoints: whole or absent, proven by their names, the last two kept."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from inceptions.errors import DataError
from inceptions.training import checkpoint
from inceptions.training.config import TrainConfig
from inceptions.training.optim import optimizer

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7), "empty": torch.zeros(0)}
FACTS = {"epoch": 3, "loss": 1 / 3, "name": "Blüte", "infinite": float("inf")}


def test_what_was_saved_is_loaded_to_the_bit(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, TENSORS, FACTS)
    found = checkpoint.load(tmp_path)
    assert found is not None
    tensors, facts = found
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 11, 100):
        checkpoint.save(tmp_path, step, {}, {"step": step})
    assert [int(path.name[:9]) for path in sorted(tmp_path.iterdir())] == [11, 100]


def test_of_one_step_the_later_position_is_newer_whatever_the_file_times_say(tmp_path: Path) -> None:
    end = checkpoint.save(tmp_path, 8, {}, {"state": {"epoch": 2, "batch": 0}})
    middle = checkpoint.save(tmp_path, 8, {}, {"state": {"epoch": 1, "batch": 4}})
    assert checkpoint.newest(tmp_path) == end
    os.utime(end, (0, 0))
    assert checkpoint.newest(tmp_path) == end != middle


def test_there_is_nothing_to_load_from_an_empty_or_missing_folder(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "none") is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    checkpoint.save(tmp_path, 1, TENSORS, {"step": 1})
    newest = checkpoint.save(tmp_path, 2, TENSORS, {"step": 2})
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1
    newest.write_bytes({"flipped": content, "cut": content[:-10], "emptied": b""}[damage])
    with caplog.at_level(logging.WARNING):
        found = checkpoint.load(tmp_path)
    assert found is not None
    assert found[1] == {"step": 1}
    assert newest.name in caplog.text
    assert "the one before" in caplog.text


def test_where_all_are_damaged_nothing_is_begun_anew_unasked(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, TENSORS, {"step": step}).write_bytes(b"")
    with pytest.raises(DataError, match=r"every checkpoint.*delete them"):
        checkpoint.load(tmp_path)


def test_those_from_a_step_on_are_dropped(tmp_path: Path) -> None:
    older, newer = (checkpoint.save(tmp_path, step, TENSORS, {"step": step}) for step in (9, 10))
    assert checkpoint.drop_from(tmp_path, 11) == newer
    assert checkpoint.drop_from(tmp_path, 10) == older
    assert checkpoint.drop_from(tmp_path, 0) is None


def test_a_half_written_one_is_never_seen_and_swept_away(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, TENSORS, {"step": 1})
    (tmp_path / ".123-abc.tmp").write_bytes(b"half")
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found[1] == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_said_and_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = checkpoint.save(tmp_path, 1, TENSORS, {"step": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(tmp_path, 2, TENSORS, {"step": 2})
    assert str(old) in str(caught.value)
    assert "--resume" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


def test_a_checkpoint_is_no_pickle(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, TENSORS, FACTS)
    assert path.read_bytes()[8:9] == b"{"  # a length, then a JSON header: the safetensors format


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw", "rmsproptf"])
def test_an_optimizer_restored_from_a_checkpoint_continues_to_the_bit(tmp_path: Path, name: str) -> None:
    config = TrainConfig("d", opt=name, lr=0.1)  # type: ignore[arg-type]

    def advance(net: nn.Module, opt: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            opt.zero_grad()
            net(torch.full((2, 3), 1.0 + step)).square().sum().backward()
            opt.step()

    torch.manual_seed(0)
    straight = nn.Linear(3, 2)
    resumed = nn.Linear(3, 2)
    opt = optimizer(straight, config)
    advance(straight, opt, range(3))
    slots, numbers = checkpoint.optimizer_state(opt)
    checkpoint.save(tmp_path, 3, checkpoint.named("optimizer", slots), numbers)
    resumed.load_state_dict(straight.state_dict())
    advance(straight, opt, range(3, 6))

    found = checkpoint.load(tmp_path)
    assert found is not None
    other = optimizer(resumed, config)
    checkpoint.restore_optimizer(other, checkpoint.section(found[0], "optimizer"), found[1])
    advance(resumed, other, range(3, 6))
    assert torch.equal(straight.weight, resumed.weight)
    assert torch.equal(straight.bias, resumed.bias)
