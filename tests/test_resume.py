"""A run that is killed and resumed ends with the same bits as one that never was."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from inceptions.training import TrainConfig
from tiny import config, results, write_images

# What a training process does, and a voice: it says each step, and each rename of a checkpoint, which it delays.
CHILD = """
import sys, time, yaml
from pathlib import Path
from inceptions.training import TrainConfig, train
from inceptions.training.loop import Training

update, rename = Training.update, Path.replace

def spoken(self, rate):
    update(self, rate)
    print("step", self.state.epoch, self.state.batch, self.batches, flush=True)

def delayed(self, target):
    if Path(target).suffix == ".safetensors":
        print("renaming", flush=True)
        time.sleep(0.05)
    result = rename(self, target)
    print("renamed", flush=True)
    return result

Training.update, Path.replace = spoken, delayed
train(TrainConfig.from_dict(yaml.safe_load(Path(sys.argv[1]).read_text())))
print("finished", flush=True)
"""


@dataclass
class Kills:
    """Kills training processes and remembers in which moments they died."""

    folder: Path
    moments: list[str] = field(default_factory=list)

    def counted(self, killed: int, mid_epoch: int, half_written: int) -> bool:
        """Whether there were so many."""
        wanted = {"killed": killed, "mid-epoch": mid_epoch, "half written": half_written}
        return all(self.moments.count(moment) >= number for moment, number in wanted.items())

    def run(self, settings: TrainConfig, *, words: int | None, word: str = "step", delay: float = 0.0) -> bool:
        """Trains in a process of its own, killed `delay` seconds after it said `word` for the `words`-th time.

        Returns whether it finished.
        """
        file = self.folder / "settings.yaml"
        file.write_text(yaml.safe_dump(settings.to_dict()))
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        said: list[str] = []
        for line in child.stdout:
            said.append(line.strip())
            if words is not None and sum(one.startswith(word) for one in said) == words:
                time.sleep(delay)
                child.kill()
                break
        rest, errors = child.communicate(timeout=60)
        said += rest.split("\n")[:-1]
        if child.returncode != -signal.SIGKILL:
            assert child.returncode == 0, errors
            return True
        last, steps = said[-1] if said else "", [one.split() for one in said if one.startswith("step")]
        if last == "renaming":
            self.moments.append("half written")
        if steps and steps[-1][2] != steps[-1][3]:
            self.moments.append("mid-epoch")
        self.moments.append("killed")
        return False


def settings(data: Path, output: Path, **changes: object) -> TrainConfig:
    """Everything random at once."""
    everything = {
        "resume": True, "epochs": 2, "batch_size": 4, "grad_accum_steps": 2, "drop_rate": 0.3, "mixup": 0.4,
        "cutmix": 0.4, "crop": "inception", "trivial": True, "model_ema": True, "smoothing": 0.1, "clip_grad": 1.0,
        "checkpoint_every": 0.0, "opt": "rmsproptf",
    }  # fmt: skip
    return config(data, output, **(everything | changes))


def same(one: Path, other: Path) -> None:
    for name in ("model/model.safetensors", "split.json", "predictions.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert results(one) == results(other)
    assert not list(other.rglob(".*.tmp"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the data, a run in it that was never interrupted)."""
    folder = tmp_path_factory.mktemp("reference")
    data = write_images(folder / "data")
    assert Kills(folder).run(settings(data, folder / "run"), words=None)
    return data, folder / "run"


def test_a_run_killed_mid_epoch_and_while_a_checkpoint_is_half_written_ends_with_the_same_bits(
    tmp_path: Path, reference: tuple[Path, Path]
) -> None:
    data, straight = reference
    kills = Kills(tmp_path)
    assert not kills.run(settings(data, tmp_path / "run"), words=3)
    assert not kills.run(settings(data, tmp_path / "run"), words=2, word="renaming")
    assert not kills.run(settings(data, tmp_path / "run", checkpoint_every=1e9), words=4)
    assert kills.run(settings(data, tmp_path / "run"), words=None)
    assert kills.counted(killed=3, mid_epoch=2, half_written=1)
    same(straight, tmp_path / "run")


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_bit(tmp_path: Path, reference: tuple[Path, Path]) -> None:
    data, straight = reference
    kills, dice, number = Kills(tmp_path), random.Random(4), 0
    while not kills.counted(killed=20, mid_epoch=15, half_written=3):
        number += 1
        run = tmp_path / f"run{number}"
        finished = False
        while not finished:
            changes = {"checkpoint_every": dice.choice([0.0, 0.0, 0.3, 1e9]), "workers": dice.choice([0, 0, 2])}
            word = dice.choice(["step", "step", "step", "renaming"])
            finished = kills.run(
                settings(data, run, **changes),
                words=dice.randint(1, 5),
                word=word,
                delay=dice.choice([0, 0, 0.02, 0.1]),
            )
        same(straight, run)
