"""Whose images are judged: none that a model was trained on, wherever they lie now and whatever they are called."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptions.data import Dataset, evaluation_split, learned_part, load, read_split, record_of, write_split
from inceptions.data.contents import copies, hashed
from inceptions.data.dataset import Entry, divide
from inceptions.data.split_file import changed, read_record
from inceptions.deploy import find_images
from inceptions.errors import DataError
from tiny import saved_again

CLASSES = ("a", "b")


def images(root: Path, count: int = 10, *, first: int = 0, classes: Sequence[str] = CLASSES) -> Path:
    """CLASS/image: noise, no two alike."""
    for number, label in enumerate(classes):
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.random.default_rng([number, first + i]).integers(0, 256, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i:02d}.png")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return images(tmp_path / "data")


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    """The split.json of a run that divided `data` itself."""
    (tmp_path / "run").mkdir()
    write_split(load(data), tmp_path / "run" / "split.json")
    return tmp_path / "run" / "split.json"


def judged(source: Path | None, run: Path, **more: object) -> tuple[str, Dataset, set[str]]:
    """(name, data set, contents of what is judged)."""
    name, dataset = evaluation_split(source, classes=CLASSES, recorded=run, **more)  # type: ignore[arg-type]
    split = dataset.splits[name]
    return name, dataset, {split.hash(index) for index in range(len(split))}


def as_is(data: Path, where: Path) -> Path:
    return Path(shutil.copytree(data, where))


def renamed(data: Path, where: Path) -> Path:
    for number, file in enumerate(sorted(data.rglob("*.png"))):
        (where / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, where / file.parent.name / f"image {number}.jpeg")
    return where


def linked(data: Path, where: Path) -> Path:
    for label in CLASSES:
        (where / label).mkdir(parents=True)
        for file in (data / label).iterdir():
            (where / label / file.name).symlink_to(file)
    return where


def listed(data: Path, where: Path) -> Path:
    where.mkdir()
    with (where / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file_name", "label"))
        rows.writerows((str(one), one.parent.name) for one in sorted(data.rglob("*.png")))
    return where / "list.csv"


def tabled(data: Path, where: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    files = sorted(data.rglob("*.png"), reverse=True)
    columns = {
        "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "label": [file.parent.name for file in files],
    }
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("string")})
    where.mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(where / "all.parquet"))
    return where / "all.parquet"


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    logging.getLogger("datasets").setLevel(logging.ERROR)


# ---- evaluation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("copied", [as_is, renamed, listed, linked, tabled])
def test_of_a_copy_of_what_a_run_divided_its_validation_part_is_judged(
    copied: object, gone: bool, data: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(copied)
    if gone and copied in (listed, linked):
        pytest.skip("they point to what would be gone")
    place = copied(data, tmp_path / "copy")
    own = judged(None, run)[2]
    if gone:
        shutil.rmtree(data)
    name, dataset, contents = judged(place, run)
    assert (name, dataset.trained_on, len(contents)) == ("val", 16, 4)
    assert contents == own == read_record(run).contents("val")
    assert "16 of 20 images are left out" in caplog.text
    training = learned_part(run, dataset)
    assert training is not None
    assert {training.hash(index) for index in range(len(training))} == read_record(run).learned


def test_copies_of_training_images_among_others_are_left_out_and_counted(
    data: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = images(tmp_path / "other", 5, first=100)
    for index, name in enumerate(("x.png", "y.jpeg", "z.PNG")):
        split = read_split(run).splits["train"]
        shutil.copy(split.path(index), other / "b" / name)  # of class a: the label does not matter
    name, dataset, contents = judged(other, run)
    assert (name, dataset.trained_on, len(dataset.splits["all"])) == ("all", 3, 10)
    assert not contents & read_record(run).learned
    assert "3 of 13 images are left out" in caplog.text


def test_a_copy_that_has_grown_is_judged_without_what_was_trained_on(data: Path, run: Path, tmp_path: Path) -> None:
    grown = as_is(data, tmp_path / "grown")
    Image.new("RGB", (6, 6), (1, 2, 3)).save(grown / "a" / "new.png")
    name, dataset, contents = judged(grown, run)
    assert (name, dataset.trained_on, len(contents)) == ("all", 16, 5)


def test_other_images_under_the_same_names_are_judged_whole(run: Path, tmp_path: Path) -> None:
    name, dataset, _ = judged(images(tmp_path / "other", first=100), run)
    assert (name, len(dataset.splits[name]), dataset.trained_on, dataset.changed) == ("all", 20, 0, ())


def test_a_image_that_was_saved_again_is_another_one(data: Path, run: Path, tmp_path: Path) -> None:
    name, dataset, _ = judged(saved_again(data, tmp_path / "again"), run)
    assert (name, len(dataset.splits[name]), dataset.trained_on) == ("all", 20, 0)


@pytest.mark.parametrize("moved", [False, True])
def test_only_training_images_are_refused_in_words(moved: bool, data: Path, run: Path, tmp_path: Path) -> None:
    split = read_split(run).splits["train"]
    for index in range(len(split)):
        label = split.classes[split.targets[index]]
        (tmp_path / "seen" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(split.path(index), tmp_path / "seen" / label / f"{index}.png")
    if moved:
        data.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="trained on all 16 images of it"):
        judged(tmp_path / "seen", run)


def test_a_changed_image_of_the_run_is_said(data: Path, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = read_split(run).splits["val"]
    Image.new("RGB", (6, 6), (9, 9, 9)).save(held.path(1))
    shutil.copy(read_split(run).splits["train"].path(0), held.path(2))
    for source in (None, data):
        name, dataset, contents = judged(source, run)
        assert (name, dataset.changed, len(contents)) == ("val", (held.name(1),), 3)
    assert "1 images are not what the run recorded" in caplog.text
    assert "1 of 4 images are left out" in caplog.text, "one has become a training image"


def test_data_that_is_gone_stops_only_what_needs_it(data: Path, run: Path, tmp_path: Path) -> None:
    other = images(tmp_path / "other", first=100)
    shutil.rmtree(data)
    assert judged(other, run)[0] == "all"
    with pytest.raises(DataError, match=r"gone: say where they lie now \(over there\)"):
        judged(None, run, hint="over there")
    data.mkdir()  # an empty folder holds no images either
    with pytest.raises(DataError, match="gone"):
        judged(None, run)


def test_of_several_models_each_ones_training_images_are_left_out(data: Path, run: Path, tmp_path: Path) -> None:
    write_split(load(data, split_seed=4), tmp_path / "second.json")
    one, two = read_record(run), read_record(tmp_path / "second.json")
    both = one.contents("val") - two.learned
    assert 0 < len(both) < 4, "this seed must divide otherwise"
    _, _, contents = judged(None, [run, tmp_path / "second.json"])  # type: ignore[arg-type]
    assert contents == both


def test_a_users_own_validation_part_is_judged_without_training_images(tmp_path: Path) -> None:
    images(tmp_path / "data" / "train")
    images(tmp_path / "data" / "val", 4, first=50)
    shutil.copy(tmp_path / "data" / "train" / "a" / "03.png", tmp_path / "data" / "val" / "b" / "copy.png")
    dataset = load(tmp_path / "data")
    write_split(dataset, tmp_path / "split.json")
    for source in (None, tmp_path / "data"):
        name, found, contents = judged(source, tmp_path / "split.json")
        assert (name, found.trained_on, len(contents)) == ("val", 1, 8)


def test_what_was_learned_before_the_run_counts_too(data: Path, tmp_path: Path) -> None:
    dataset = load(data)
    held = dataset.splits["val"].hash(0)
    write_split(dataset, tmp_path / "split.json", learned=frozenset({held}))
    assert held not in judged(None, tmp_path / "split.json")[2]
    assert held not in judged(as_is(data, tmp_path / "copy"), tmp_path / "split.json")[2]


def test_missing_classes_are_those_of_the_part_that_is_judged(tmp_path: Path) -> None:
    images(tmp_path / "train", classes=("a", "b", "c"))
    images(tmp_path / "val", 3, first=50)
    _, dataset = evaluation_split(tmp_path, classes=("a", "b", "c"))
    assert dataset.missing_classes == ("c",)


def test_the_model_in_a_run_belongs_to_it(run: Path) -> None:
    assert record_of(run.parent) == record_of(run.parent / "model") == run


# ---- places ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [as_is, renamed, tabled])
def test_moved_images_are_found_in_their_order(copied: object, data: Path, run: Path, tmp_path: Path) -> None:
    assert callable(copied)
    before = read_split(run)
    place = copied(data, tmp_path / "moved")
    shutil.rmtree(data)
    after = read_split(run, root=place)
    for part, split in after.splits.items():
        assert split.targets.tolist() == before.splits[part].targets.tolist()
        fresh, failed = hashed(split, fresh=True)
        assert fresh.hashes is not None
        assert before.splits[part].hashes is not None
        assert fresh.hashes.tolist() == before.splits[part].hashes.tolist()  # type: ignore[union-attr]
        assert not failed
        assert changed(split) == ()
    write_split(after, tmp_path / "again.json")
    assert read_record(tmp_path / "again.json").learned == read_record(run).learned
    assert len(read_split(tmp_path / "again.json").splits["val"]) == 4


def test_a_place_without_the_runs_images_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold 20 of the 20 images"):
        read_split(run, root=images(tmp_path / "other", first=100, classes=("x", "y")))


def test_a_split_json_that_has_no_newer_field_is_read(run: Path) -> None:
    record = json.loads(run.read_text())
    assert set(record) == {*("format_version", "source", "root", "layout", "divided", "label", "classes", "files")}, (
        "nothing was learned before, so nothing says so"
    )
    assert read_record(run).before == frozenset()


# ---- division -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_our_division_never_has_a_content_on_both_sides(seed: int, tmp_path: Path) -> None:
    root = images(tmp_path / "data", 12)
    for file in sorted(root.rglob("*.png"))[::2]:
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    shutil.copy(root / "a" / "01.png", root / "b" / "a in b.png")
    dataset = load(root, split_seed=seed)
    held = {part: {split.hash(i) for i in range(len(split))} for part, split in dataset.splits.items()}
    assert not held["train"] & held["val"]
    for label in (0, 1):
        assert 2 <= (dataset.splits["val"].targets == label).sum() <= 4


def test_copies_keep_groups_together() -> None:
    entries = [
        Entry(f"{i}".encode(), "ab"[i % 2], group=f"patient {i // 4}", sha256="blank" if i % 8 == 0 else None)
        for i in range(80)
    ]
    for seed in range(5):
        chosen = divide(entries, seed=seed, fraction=0.2)
        sides = {(entry.group, yes) for entry, yes in zip(entries, chosen, strict=True)}
        assert len(sides) == 20, "a group is on one side"
        assert len({yes for entry, yes in zip(entries, chosen, strict=True) if entry.sha256}) == 1
        assert any(chosen)


def test_a_division_without_copies_is_the_one_it_always_was() -> None:
    entries = [Entry(f"{i}.png".encode(), "ab"[i % 2]) for i in range(20)]
    unlike = [entry._replace(sha256=f"{i}") for i, entry in enumerate(entries)]
    plain = divide(entries, seed=0, fraction=0.2)
    assert divide(unlike, seed=0, fraction=0.2) == plain
    assert [i for i, yes in enumerate(plain) if yes] == [5, 10, 11, 12]  # as of the first version


def test_empty_files_are_no_copies_of_each_other(tmp_path: Path) -> None:
    root = images(tmp_path / "data", 3)
    for label in CLASSES:
        (root / label / "empty.png").touch()
    dataset = load(root, val_fraction=0)
    whole = {part: hashed(split)[0] for part, split in dataset.splits.items()}
    assert copies(Dataset(**{**vars(dataset), "splits": whole})).contradicting == ()


def test_files_of_different_sizes_are_not_opened_to_divide_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    for number, label in enumerate(CLASSES):
        (root / label).mkdir(parents=True)
        for i in range(5):
            (root / label / f"{i}.png").write_bytes(b"x" * (100 * number + i + 1))

    def refuse(file: object) -> str:
        raise AssertionError(file)

    monkeypatch.setattr("inceptions.data.contents.file_digest", refuse)
    assert len(load(root).splits["val"]) == 2


def test_a_run_whose_own_validation_part_is_copies_is_exported_and_not_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images(tmp_path / "data" / "train", 3)
    shutil.copytree(tmp_path / "data" / "train", tmp_path / "data" / "val")
    write_split(load(tmp_path / "data"), tmp_path / "split.json")
    with pytest.raises(DataError, match="trained on all 6 images"):
        judged(None, tmp_path / "split.json")
    with find_images(CLASSES, data=None, recorded=tmp_path / "split.json", most=4) as found:
        assert len(found.check) == 4
    assert "the export is checked on them" in caplog.text
    with (
        pytest.raises(DataError, match="trained on all"),
        find_images(CLASSES, data=str(tmp_path / "data"), recorded=tmp_path / "split.json", most=4),
    ):
        pass
