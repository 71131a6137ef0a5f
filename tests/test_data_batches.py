"""Batches: the same images whoever makes them, wherever one starts, whatever is unreadable; workers never hang."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.data import Augment, Batch, Split, balanced_order, batches, class_weights, epoch_order, shard
from inceptions.data.worker_pool import dismiss
from inceptions.errors import DataError
from inceptions.image import Preprocess
from inceptions.image.formats import READ
from tiny import workers_alive

SMALL = Preprocess(size=(8, 8), crop_pct=1.0)
ALL = Augment(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, trivial=True, erase=0.5)


@pytest.fixture(autouse=True)
def no_workers_left() -> Iterator[None]:
    """Every test starts and ends without workers."""
    dismiss()
    yield
    dismiss()


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """23 images of noise in three classes."""
    random = np.random.default_rng(0)
    for i in range(23):
        Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{i:02d}.png")
    files = np.array([f"{i:02d}.png" for i in range(23)], dtype=np.bytes_)
    return Split(root=tmp_path, files=files, targets=np.arange(23) % 3, classes=("a", "b", "c"))


def merged(feed: Iterator[Batch]) -> tuple[torch.Tensor, list[int], list[int], list[str]]:
    """(images, targets, indices, refused) of all batches."""
    parts = list(feed)
    return (
        torch.cat([part.images for part in parts]),
        [target for part in parts for target in part.targets.tolist()],
        [index for part in parts for index in part.indices.tolist()],
        [file for part in parts for file, _ in part.refused],
    )


def ended(process: int) -> bool:
    """Gone, or a zombie nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_batches_hold_the_images_in_order(split: Split) -> None:
    parts = list(batches(split, SMALL, batch_size=10))
    assert [len(part) for part in parts] == [10, 10, 3]
    assert torch.cat([part.indices for part in parts]).tolist() == list(range(23))
    assert torch.cat([part.targets for part in parts]).tolist() == split.targets.tolist()
    for part in parts:
        assert part.images.dtype == torch.uint8
        assert part.targets.dtype == part.indices.dtype == torch.int64
        for image, index in zip(part.images, part.indices.tolist(), strict=True):
            np.testing.assert_array_equal(image, SMALL.image(split.path(index)))  # the one Preprocess


@pytest.mark.parametrize("augment", [None, ALL])
def test_workers_and_batch_size_and_order_change_no_image(split: Split, augment: Augment | None) -> None:
    expected = merged(batches(split, SMALL, batch_size=23, augment=augment, seed=3, epoch=2))
    for workers, size in ((0, 4), (1, 23), (3, 5)):
        order = epoch_order(23, seed=3, epoch=2)
        feed = batches(split, SMALL, batch_size=size, workers=workers, augment=augment, seed=3, epoch=2, order=order)
        images, targets, indices, _ = merged(feed)
        assert indices == order.tolist()
        assert targets == split.targets[order].tolist()
        assert torch.equal(images, expected[0][order])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_epoch_goes_on_as_if_it_had_not_been(split: Split, workers: int) -> None:
    options = {"batch_size": 4, "augment": ALL, "seed": 1, "epoch": 5, "order": epoch_order(23, seed=1, epoch=5)}
    whole = list(batches(split, SMALL, **options))
    rest = list(batches(split, SMALL, start=3, workers=workers, **options))
    assert len(rest) == len(whole) - 3
    for ours, theirs in zip(rest, whole[3:], strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.indices, theirs.indices)


def test_processes_that_share_an_epoch_make_the_images_of_one(split: Split) -> None:
    options = {"augment": ALL, "seed": 1, "epoch": 5}
    order = epoch_order(23, seed=1, epoch=5)
    alone = merged(batches(split, SMALL, batch_size=6, order=order, **options))
    together = {}
    for rank in range(3):
        part = merged(batches(split, SMALL, batch_size=2, order=shard(order, rank=rank, world_size=3), **options))
        together |= dict(zip(part[2], part[0], strict=True))
    assert sorted(together) == list(range(23))  # each once: evaluation is never padded
    for image, index in zip(alone[0], alone[2], strict=True):
        assert torch.equal(together[index], image)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_left_out_and_named(
    split: Split, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    split.path(4).write_bytes(b"no image")
    split.path(22).unlink()
    with caplog.at_level(logging.WARNING, "inceptions"):
        for _ in range(2):
            images, targets, indices, refused = merged(batches(split, SMALL, batch_size=4, workers=workers))
            assert indices == [i for i in range(23) if i not in (4, 22)]
            assert targets == [i % 3 for i in indices]
            assert refused == ["04.png", "22.png"]
            for image, index in zip(images, indices, strict=True):
                np.testing.assert_array_equal(image, SMALL.image(split.path(index)))
    once = [  # not every epoch
        f"left out: 04.png: no {', '.join(READ[:-1])} or {READ[-1]} image",
        "left out: 22.png: no such file or directory",
    ]
    assert [record.getMessage() for record in caplog.records] == once


def test_a_batch_may_be_empty(split: Split) -> None:
    split.path(0).write_bytes(b"")
    (batch,) = batches(split.subset([0]), SMALL, batch_size=4)
    assert batch.images.shape == (0, 3, 8, 8)
    assert (len(batch), len(batch.refused)) == (0, 1)


def test_a_batch_outlives_the_workers_and_the_next_batch(split: Split) -> None:
    kept = list(batches(split, SMALL, batch_size=2, workers=1))  # their memory must not be used again
    for batch, again in zip(kept, batches(split, SMALL, batch_size=2), strict=True):
        assert torch.equal(batch.images, again.images)


def test_fractional_images_travel_too(split: Split) -> None:
    tf1 = replace(SMALL, interpolation="tf1_bilinear")
    ours, theirs = (merged(batches(split, tf1, batch_size=5, workers=workers))[0] for workers in (0, 2))
    assert ours.dtype == torch.float32
    assert (ours != ours.round()).any()
    assert torch.equal(ours, theirs)
    assert merged(batches(split, tf1, batch_size=5, augment=Augment()))[0].dtype == torch.uint8


def test_content_of_a_table_travels_to_workers(split: Split) -> None:
    contents = [split.path(i).read_bytes() for i in range(23)]
    table = replace(split, content=contents.__getitem__, rows=np.arange(23))
    ours = merged(batches(table, SMALL, batch_size=5, workers=2))[0]
    assert torch.equal(ours, merged(batches(split, SMALL, batch_size=5))[0])


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"workers": -1}, {"start": -1}, {"order": np.array([23])}, {"order": np.array([-1])}]
)
def test_arguments_out_of_range_are_refused_at_once(split: Split, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|the split has 23"):
        batches(split, SMALL, **({"batch_size": 4} | wrong))  # type: ignore[arg-type]


# ---- workers that fail ----------------------------------------------------------------------------------------------


def test_a_killed_worker_is_an_error_that_says_so(split: Split) -> None:
    feed = batches(split, SMALL, batch_size=1, workers=2)
    next(feed)
    os.kill(workers_alive()[0], signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(ChildProcessError, match=r"data worker \d+ was killed by SIGKILL \(out of memory\?"):
        list(feed)
    assert time.monotonic() - started < 20
    assert workers_alive() == []


def test_a_crash_inside_a_worker_brings_its_traceback(split: Split) -> None:
    feed = batches(split, SMALL, batch_size=1, workers=1)
    next(feed)
    os.kill(workers_alive()[0], signal.SIGSEGV)
    with pytest.raises(
        ChildProcessError, match=r"(?s)killed by SIGSEGV.*Fatal Python error: Segmentation fault.*worker_process\.py"
    ):
        list(feed)


class Broken(Preprocess):
    """A mistake in the program, not in an image."""

    def image(self, source: object) -> np.ndarray:
        raise ZeroDivisionError("our own mistake")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_of_ours_stops_with_its_traceback(split: Split, workers: int) -> None:
    broken = Broken(size=(8, 8))
    kind = RuntimeError if workers else ZeroDivisionError
    with pytest.raises(kind, match="our own mistake") as caught:
        list(batches(split, broken, batch_size=4, workers=workers))
    if workers:
        assert "Traceback (most recent call last)" in str(caught.value)
        assert "00.png" in str(caught.value)


def test_a_feed_that_is_dropped_leaves_no_process(split: Split) -> None:
    feed = batches(split, SMALL, batch_size=1, workers=2)
    next(feed)
    assert len(workers_alive()) == 2
    feed.close()  # type: ignore[attr-defined]
    assert workers_alive() == []


def test_workers_ignore_the_signals_that_are_for_their_parent(split: Split) -> None:
    feed = batches(split, SMALL, batch_size=1, workers=1)
    next(feed)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(workers_alive()[0], number)
    assert len(list(feed)) == 22


def test_workers_end_when_their_parent_is_killed(split: Split, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal, subprocess, sys\n"
        "from pathlib import Path\n"
        "from inceptions.data import batches, load\n"
        "from inceptions.image import Preprocess\n"
        "import numpy as np\n"
        "from inceptions.data import Split\n"
        "files = np.array(sorted(p.name.encode() for p in Path(sys.argv[1]).glob('*.png')))\n"
        "split = Split(root=Path(sys.argv[1]), files=files, targets=np.zeros(len(files), np.int64), classes=('a',))\n"
        "feed = batches(split, Preprocess(size=(8, 8)), batch_size=1, workers=1)\n"  # no `if __name__` guard
        "next(feed)\n"
        "out = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', str(os.getpid())], capture_output=True, text=True)\n"
        "print([line.split()[0] for line in out.stdout.splitlines() if 'data.worker' in line][0], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert out.returncode == -signal.SIGKILL, out.stderr
    worker = int(out.stdout)
    deadline = time.monotonic() + 20
    while not ended(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended(worker)


def test_a_module_in_the_users_folder_does_not_stand_in_for_one_of_ours(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert len(list(batches(split, SMALL, batch_size=10, workers=1))) == 3


def test_workers_stay_for_the_next_epoch_and_only_then(split: Split) -> None:
    first = merged(batches(split, SMALL, batch_size=4, workers=2, augment=ALL))
    crew = workers_alive()
    assert len(crew) == 2
    again = merged(batches(split, SMALL, batch_size=4, workers=2))  # other work, the same workers
    assert workers_alive() == crew
    assert torch.equal(again[0], merged(batches(split, SMALL, batch_size=4))[0])
    assert torch.equal(first[0], merged(batches(split, SMALL, batch_size=4, augment=ALL))[0])
    large = replace(SMALL, size=(64, 64))
    assert torch.equal(*(merged(batches(split, large, batch_size=4, workers=workers))[0] for workers in (0, 2)))
    assert not set(workers_alive()) & set(crew)  # their memory was too small
    dismiss()
    assert workers_alive() == []


def test_a_waiting_worker_that_died_is_replaced(split: Split) -> None:
    list(batches(split, SMALL, batch_size=4, workers=1))
    (worker,) = workers_alive()
    os.kill(worker, signal.SIGKILL)
    os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)  # until its last thread has ended
    assert len(list(batches(split, SMALL, batch_size=4, workers=1))) == 6


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 advises against what is tested here
def test_a_forked_child_does_not_talk_to_its_parents_workers(split: Split) -> None:
    list(batches(split, SMALL, batch_size=4, workers=1))
    child = os.fork()
    if child == 0:
        try:
            from inceptions.data import worker_pool

            os._exit(len(worker_pool._idle))
        finally:
            os._exit(100)
    assert os.waitpid(child, 0)[1] == 0
    assert len(workers_alive()) == 1


def test_pixels_travel_through_anonymous_memory(split: Split) -> None:
    """Containers give 64 MB of /dev/shm; filling it kills with SIGBUS."""
    feed = batches(split, SMALL, batch_size=1, workers=1)
    next(feed)
    descriptors = [os.readlink(link) for link in Path(f"/proc/{workers_alive()[0]}/fd").iterdir() if link.is_symlink()]
    assert any("memfd:inceptions" in target for target in descriptors)
    feed.close()  # type: ignore[attr-defined]


def test_a_dev_shm_of_one_page_stops_nothing(split: Split) -> None:
    privately = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount = "mount -t tmpfs -o size=4k none /dev/shm; "
    if not shutil.which("unshare") or subprocess.run([*privately, mount], capture_output=True, check=False).returncode:
        # Only a namespace of its own can have another /dev/shm, and some kernels and containers give none to anybody.
        pytest.skip("needs a mount of its own, which is not allowed here")
    script = (
        "import sys; from inceptions.data import batches, load; from inceptions.image import Preprocess\n"
        "data = load(sys.argv[1], val_fraction=0).splits['train']\n"
        "print(sum(len(batch) for batch in batches(data, Preprocess(size=(64, 64)), batch_size=8, workers=2)))"
    )
    for label, first in (("a", 0), ("b", 12)):
        folder = split.root / "images" / label
        folder.mkdir(parents=True)
        for index in range(first, first + 11):
            split.path(index).rename(folder / f"{index}.png")
    command = [*privately, mount + 'exec "$0" "$@"', sys.executable, "-c", script, str(split.root / "images")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "22\n", done.stderr


# ---- orders and weights ---------------------------------------------------------------------------------------------


def test_an_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    first = epoch_order(1000, seed=1, epoch=2)
    assert sorted(first) == list(range(1000))
    np.testing.assert_array_equal(first, epoch_order(1000, seed=1, epoch=2))
    for other in (
        epoch_order(1000, seed=2, epoch=2),
        epoch_order(1000, seed=1, epoch=3),
        epoch_order(1000, seed=2, epoch=1),
    ):
        assert (other == first).mean() < 0.02
    assert epoch_order(5, seed=0, epoch=0).tolist() == [4, 2, 0, 1, 3]  # for ever: newer numpys resume, too
    assert len(epoch_order(0, seed=0, epoch=0)) == 0
    with pytest.raises(ValueError, match="seed -1"):
        epoch_order(3, seed=-1, epoch=0)


def test_every_image_is_equally_often_first() -> None:
    firsts = np.bincount([epoch_order(5, seed=7, epoch=epoch)[0] for epoch in range(2000)])
    assert (abs(firsts - 400) < 4 * np.sqrt(400)).all()


def test_a_balanced_epoch_shows_every_class_equally_often() -> None:
    targets = np.repeat([0, 1, 2, -1], [90, 9, 2, 5])
    order = balanced_order(targets, seed=0, epoch=0)
    assert len(order) == len(targets)
    counts = np.bincount(targets[order])
    assert counts.sum() == len(targets)
    assert counts.max() - counts.min() <= 1
    rare = np.bincount(order[targets[order] == 1])[90:99]
    assert rare.max() - rare.min() <= 1  # all are used up before one comes again
    assert (order[:10] != balanced_order(targets, seed=0, epoch=1)[:10]).any()
    np.testing.assert_array_equal(order, balanced_order(targets, seed=0, epoch=0))
    with pytest.raises(DataError, match="nothing to balance"):
        balanced_order(np.array([-1]), seed=0, epoch=0)


def test_large_classes_show_another_part_each_epoch() -> None:
    targets = np.repeat([0, 1], [1000, 10])
    seen = set()
    for epoch in range(10):
        order = balanced_order(targets, seed=0, epoch=epoch)
        seen |= set(order[targets[order] == 0].tolist())
    assert len(seen) > 980


def test_shards_are_the_whole_and_even_ones_equally_long() -> None:
    order = epoch_order(23, seed=0, epoch=0)
    parts = [shard(order, rank=rank, world_size=4) for rank in range(4)]
    assert sorted(np.concatenate(parts)) == list(range(23))
    even = [shard(order, rank=rank, world_size=4, even=True) for rank in range(4)]
    assert [len(part) for part in even] == [5, 5, 5, 5]
    assert set(np.concatenate([part[:2] for part in even])) == set(order[:8])  # the step one process would make
    with pytest.raises(ValueError, match=r"rank 4 given, 0 \.\. 3 allowed"):
        shard(order, rank=4, world_size=4)


def test_class_weights_make_classes_count_alike() -> None:
    targets = np.array([0, 0, 0, 1, -1])
    weights = class_weights(targets, ("a", "b"))
    np.testing.assert_allclose(weights, [4 / (2 * 3), 4 / (2 * 1)])
    assert weights.dtype == np.float32
    with pytest.raises(DataError, match=r"without images.*: b, c"):
        class_weights(np.array([0]), ("a", "b", "c"))
