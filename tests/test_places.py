"""A home, a cache or a folder that cannot be written or flushed costs a line, not the work."""

from __future__ import annotations

import errno
import logging
import os
import pwd
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from inceptions.cli import main
from inceptions.errors import DataError
from inceptions.features import Store
from inceptions.features import cache_folder as features_folder
from inceptions.files import user_cache, write_atomically
from inceptions.image import Preprocess
from inceptions.models import open_model
from inceptions.training import train
from inceptions.training.folder import write_config
from inceptions.training.resolve import default_output
from inceptions.weights import artifact, create_model
from inceptions.weights.download import Address, cache_folder, fetch, recorded
from tiny import config, write_images


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home, as in a container that was started for a number."""

    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "INCEPTIONS_CACHE", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches below what is a file: they cannot be made, not even by root."""
    import huggingface_hub.constants  # noqa: F401 - it keeps what the environment is at its first import

    (tmp_path / "file").write_bytes(b"")
    for name in ("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "INCEPTIONS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "file" / "below"))
    return tmp_path / "file" / "below"


@pytest.mark.usefixtures("nowhere")
def test_without_a_home_there_is_no_cache_of_features_and_downloads_are_temporary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert user_cache() is None
    assert features_folder() is None
    assert cache_folder().is_relative_to(tempfile.gettempdir())
    for words in (["weights", "list"], ["weights", "list", "--json"]):
        assert main(words) == 0
    assert main(["predict", "~/no/model", "x.png"]) in (1, 2, 3)
    assert "should not happen" not in capsys.readouterr().err


def test_features_that_cannot_be_kept_are_used_all_the_same(blocked: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in (blocked, None):
        caplog.clear()
        store = Store(folder)
        for name in (b"a" * 32, b"b" * 32):
            store.add([(name, torch.ones(3))])
            store.flush()
        assert set(store.known) == {b"a" * 32, b"b" * 32}
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_a_head_is_tuned_without_a_cache(blocked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_images(tmp_path / "data", train=4, val=1)
    first = train(config(data, tmp_path / "first", epochs=1))
    result = train(config(data, tmp_path / "head", weights=str(first.output / "model"), tune="head"))
    assert artifact.is_artifact(result.output)
    assert "features are not kept" in caplog.text


def test_a_download_goes_elsewhere_where_the_cache_cannot_be_made(
    blocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from inceptions.weights import download

    def bring(url: str, source: object, part: Path, timeout: float) -> None:
        part.write_bytes(b"tensors")

    monkeypatch.setattr(download, "_download", bring)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    path = fetch(Address(file="w.pth", urls=("https://nowhere.invalid/w.pth",)))
    assert path.read_bytes() == b"tensors"
    assert path.is_relative_to(tmp_path)
    assert "TORCH_HOME names a folder that keeps" in caplog.text


def test_a_table_is_read_where_the_cache_of_datasets_cannot_be_made(
    blocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    datasets = pytest.importorskip("datasets")
    from inceptions.data import load
    from inceptions.data.readers import parquet as tables

    pixels = [{"bytes": bytes([n]), "path": None} for n in range(4)]
    table = datasets.Dataset.from_dict({"image": pixels, "label": ["a", "b"] * 2})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table.to_parquet(str(tmp_path / "t.parquet"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", blocked)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tables._cache.cache_clear()
    assert load(tmp_path / "t.parquet", val_fraction=0).classes == ("a", "b")
    tables._cache.cache_clear()
    assert "HF_HOME names a folder that keeps" in caplog.text


def test_a_cached_file_is_used_where_its_hash_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from inceptions.weights import download

    def refuse(path: Path, _: object) -> None:
        raise OSError(errno.EROFS, "read-only file system", str(path))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "write_atomically", refuse)
    cache_folder().mkdir(parents=True)
    (cache_folder() / "w.pth").write_bytes(b"tensors")
    assert fetch(Address(file="w.pth", urls=())).read_bytes() == b"tensors"
    assert recorded(cache_folder() / "w.pth") is None
    assert "not recorded" in caplog.text


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_flush_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, "no flushing here")

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_to_flush_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, "the disk failed")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk failed"):
        write_atomically(tmp_path / "a.txt", "text")
    assert not list(tmp_path.iterdir())


def test_data_whose_names_are_no_text_are_trained_on_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / os.fsdecode(b"donn\xe9es")
    write_images(place, train=4, val=2)
    (place / "val" / "c0" / os.fsdecode(b"\xe9.png")).write_bytes(b"no image")
    small = (
        "--model bn_inception --width 0.05 --depth 0.2 --stem small --img-size 32 --epochs 1 --workers 0 --crop none"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(place), *small.split()]) == 0
    run = str(default_output(str(place), "bn_inception"))
    for words in (["val", run], ["report", run], ["train", "--resume", "--output", run]):
        assert main(words) == 0, words
    assert "codec" not in capsys.readouterr().err
    assert artifact.describe(run).facts.training["settings"]["data"] == str(place)


def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, odd = write_images(tmp_path / "data", train=2, val=1), tmp_path / os.fsdecode(b"\xe9")
    assert main(["train", str(data), "--output", str(odd / "run")]) == 3
    assert "/\\xe9/run: files of tensors can be neither written nor read" in capsys.readouterr().err
    assert not odd.exists()
    net = create_model("bn_inception", num_classes=2, width=0.05, depth=0.2, stem="small")
    net.preprocess, net.classes = Preprocess(size=(32, 32)), ("a", "b")
    with pytest.raises(DataError, match="not UTF-8"):
        artifact.save(net, odd)
    artifact.save(net, tmp_path / "model")
    (tmp_path / "model").rename(odd)
    with pytest.raises(DataError, match="not UTF-8"):
        artifact.load(odd)


def test_a_disk_that_fills_while_a_model_is_written_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    net = create_model("googlenet", num_classes=2, width=0.1, stem="small")
    net.classes = ("a", "b")
    monkeypatch.setattr(artifact, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        artifact.save(net, tmp_path / "model")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_made_is_called_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "none" / "file.csv", "text")
    assert caught.value.filename == str(tmp_path / "none" / "file.csv")


def test_predictions_and_features_make_their_folder_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "cache"))
    data = write_images(tmp_path / "data", train=2, val=1, classes=2)
    net = create_model("googlenet", num_classes=2, width=0.1, stem="small")
    net.classes, net.preprocess = ("a", "b"), Preprocess(size=(32, 32))
    artifact.save(net, tmp_path / "model")
    model, images = str(tmp_path / "model"), str(data / "val")
    assert main(["predict", model, images, "--output", str(tmp_path / "new/deep/p.csv")]) == 0
    assert main(["predict", model, images, "--features", str(tmp_path / "other/f.npz")]) == 0
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("inceptions.features.Extractor.__call__", lambda *_: pytest.fail("computed in vain"))
    assert main(["predict", model, images, "--features", str(tmp_path / "file/f.npz")]) == 1
    assert f"{tmp_path / 'file'}: File exists" in capsys.readouterr().err


def test_a_run_may_be_written_through_a_link_to_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "scratch" / "run")
    write_config(tmp_path / "link", config(tmp_path, tmp_path / "link"))
    assert (tmp_path / "scratch/run/config.yaml").is_file()


def test_a_model_whose_run_is_gone_says_that_it_cannot_know_its_training_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = create_model("googlenet", num_classes=2, width=0.1, stem="small")
    net.classes, net.preprocess = ("a", "b"), Preprocess(size=(32, 32))
    run = tmp_path / "run"
    artifact.save(net, run / "model", training={"settings": {"output": str(run)}})
    artifact.save(net, tmp_path / "copy", training={"settings": {"output": str(run)}})
    (run / "split.json").write_text("{}")
    copied = open_model(tmp_path / "copy")
    assert copied.record() == run / "split.json"
    assert not caplog.records
    (run / "split.json").unlink()
    assert not copied.record().is_file()
    assert "images that it was trained on cannot be known" in caplog.text


def test_a_seed_that_no_generator_takes_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^seed must be in \[0, 2\*\*63\)"):
        config(tmp_path, tmp_path / "run", seed=1 << 63)
