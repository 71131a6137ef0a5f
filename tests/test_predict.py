"""Classifier: the same probabilities as everywhere else, for anything that holds an image, and nothing stops it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inceptions
from inceptions.data import batches, load
from inceptions.engines import Engine, open_engine
from inceptions.evaluation import Protocol, judge
from inceptions.image import Preprocess
from inceptions.predict import Classifier, Prediction, images_in
from inceptions.weights import artifact
from inceptions.zoo import Network, build

CLASSES = ("ant", "bee", "wasp")


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    net = build("googlenet", width=0.125, num_classes=3, stem="small", norm="batch")
    net.preprocess = Preprocess(size=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    net.classes = CLASSES
    return net.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven images of two classes, and things that are none."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for i in range(11):
        place = root / ("bee" if i % 2 else "ant")
        place.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)).save(place / f"{i}.png")
    (root / "ant" / ".hidden.png").write_bytes(b"no image")
    (root / "ant" / "notes.txt").write_text("no image")
    return root


def by_hand(net: Network, file: Path) -> dict[str, float]:
    with torch.no_grad():
        shares = net(net.preprocess(file)[None]).double().softmax(1)[0]
    return dict(zip(CLASSES, shares.tolist(), strict=True))


def test_a_prediction_names_file_label_probability_and_the_best_classes(net: Network, folder: Path) -> None:
    file = folder / "ant" / "0.png"
    (prediction,) = Classifier(net).predict(str(file), top_k=2)
    truth = sorted(by_hand(net, file).items(), key=lambda item: -item[1])
    assert [label for label, _ in prediction.top_k] == [label for label, _ in truth[:2]]
    assert [value for _, value in prediction.top_k] == pytest.approx([value for _, value in truth[:2]], abs=1e-6)
    assert prediction.to_dict() == {
        "file": str(file),
        "label": truth[0][0],
        "probability": prediction.probability,
        "top_k": [{"label": label, "probability": value} for label, value in prediction.top_k],
    }


def test_paths_bytes_files_pil_and_arrays_give_the_same_answer(net: Network, folder: Path) -> None:
    file = folder / "bee" / "1.png"
    image = Image.open(file)
    sources = [file, str(file), file.read_bytes(), io.BytesIO(file.read_bytes()), image, np.asarray(image)]
    classifier = Classifier(net)
    for source in sources:
        alone = classifier.predict(source)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        together = classifier.predict([source, image])[0]  # type: ignore[list-item]
        assert dict(alone[0].top_k) == pytest.approx(by_hand(net, file), abs=1e-6)
        assert dict(together.top_k) == pytest.approx(by_hand(net, file), abs=1e-6)
        assert alone[0].file == (str(file) if isinstance(source, (str, Path)) else None)
    assert len(classifier.predict(np.stack([np.asarray(image)] * 3))) == 3


def test_unreadable_images_are_named_in_their_place_and_stop_nothing(
    net: Network, folder: Path, tmp_path: Path
) -> None:
    bad, good = tmp_path / "bad.jpg", folder / "ant" / "0.png"
    bad.write_bytes(b"not an image")
    files = [bad, good, tmp_path / "missing.png", good, bad]
    told = Classifier(net, batch_size=2).predict(files)  # the last batch holds nothing but a bad one
    assert [one.file for one in told] == [str(file) for file in files]
    assert [one.error is None for one in told] == [False, True, False, True, False]
    assert told[0].to_dict() == {"file": str(bad), "error": told[0].error}
    assert "no JPEG" in (told[0].error or "")
    assert "no such file" in (told[2].error or "")
    assert (told[0].label, told[0].probability) == (None, None)
    mixed = Classifier(net).predict([b"not an image", good, np.zeros((2, 2, 2, 2, 2))])
    assert [one.error is None for one in mixed] == [False, True, False]
    assert dict(mixed[1].top_k) == pytest.approx(by_hand(net, good), abs=1e-6)


def test_no_images_are_no_predictions(net: Network) -> None:
    assert Classifier(net).predict([]) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_streams_keep_order_and_values_for_every_batch_size_and_worker(
    net: Network, folder: Path, batch_size: int, workers: int
) -> None:
    files = images_in([folder])[::-1]
    told = list(Classifier(net, batch_size=batch_size).stream(files, workers=workers))
    assert [one.file for one in told] == files
    for one in told:
        assert dict(one.top_k) == pytest.approx(by_hand(net, Path(one.file or "")), abs=1e-6)


def test_streams_read_no_further_ahead_than_they_must(net: Network, folder: Path) -> None:
    files = [*images_in([folder])[:2], *["/nowhere"] * 100_000]
    stream = Classifier(net, engine="torch", batch_size=2).stream(files, workers=0)
    assert next(stream).error is None
    stream.close()


@pytest.mark.slow
def test_memory_is_steady_over_a_hundred_thousand_files(net: Network, folder: Path) -> None:
    files = images_in([folder])
    many = [files[index % len(files)] for index in range(100_000)]
    resident = []
    for seen, one in enumerate(Classifier(net, engine="torch", batch_size=256).stream(many, workers=2)):
        assert one.error is None
        if seen % 1000 == 0:
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert seen == 99_999
    # It goes up and down by a batch or two: peaks are compared.
    assert max(resident[10:]) - max(resident[:10]) < 20e6


def test_training_evaluation_and_prediction_agree_on_every_probability(net: Network, folder: Path) -> None:
    """Training evaluates by calling the module itself, contiguous, in its own batches."""
    split = load(folder, classes=CLASSES, val_fraction=0).splits["train"]
    predicted = {one.file: dict(one.top_k) for one in Classifier(net).predict(images_in([folder]))}
    for size in (1, 3, 11):
        outcome = judge([net], split, Protocol(batch_size=size))
        for batch in batches(split, net.preprocess, batch_size=size):
            with torch.no_grad():
                trained = net(net.preprocess.normalize(batch.images)).softmax(1)
            for index, shares in zip(batch.indices.tolist(), trained.tolist(), strict=True):
                validated = {
                    CLASSES[place]: value
                    for place, value in zip(outcome.best[index], outcome.probabilities[index], strict=True)
                }
                expected = predicted[str(split.path(index))]
                assert dict(zip(CLASSES, shares, strict=True)) == pytest.approx(expected, abs=1e-6)
                assert validated == pytest.approx(expected, abs=1e-6)


def test_temperature_divides_the_logits_and_travels_with_the_model(net: Network, folder: Path, tmp_path: Path) -> None:
    file = folder / "ant" / "0.png"
    classifier = Classifier(net, temperature=2.5)
    with torch.no_grad():
        expected = (net(net.preprocess(file)[None]).double() / 2.5).softmax(1)[0].tolist()
    assert dict(classifier.predict(file)[0].top_k) == pytest.approx(dict(zip(CLASSES, expected, strict=True)), abs=1e-6)
    classifier.save(tmp_path / "model")
    again = inceptions.load(tmp_path / "model")
    assert again.temperature == 2.5
    assert again.predict(file) == classifier.predict(file)
    assert Classifier(net).temperature == 1


def test_a_saved_classifier_is_the_same_classifier(net: Network, folder: Path, tmp_path: Path) -> None:
    artifact.save(net, tmp_path / "run" / "model", training={"epochs": 3}, metrics={"top1": 0.5})
    first = inceptions.load(tmp_path / "run")  # a run's folder
    first.save(tmp_path / "copy")
    second = inceptions.load(str(tmp_path / "copy"), batch_size=1)
    files = images_in([folder])
    assert (second.classes, second.preprocess) == (CLASSES, net.preprocess)
    assert second.model.facts.training == {"epochs": 3}
    assert second.model.facts.metrics == {"top1": 0.5}
    for one, other in zip(first.predict(files), second.predict(files), strict=True):
        assert dict(one.top_k) == pytest.approx(dict(other.top_k), abs=1e-6)


def test_engine_options_reach_the_engine_and_an_open_one_is_used(net: Network) -> None:
    classifier = Classifier(net, engine="torch", precision="bf16", batch_size=3)
    engine = classifier.engine()
    assert (engine.name, engine.precision, engine.batch_size) == ("torch", "bf16", 3)
    assert Classifier(net, engine=engine).engine() is engine


def test_few_images_are_not_worth_a_conversion(net: Network, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def remember(*arguments: object, **options: object) -> Engine:
        asked.append(options["expected"])
        return open_engine(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("inceptions.predict.open_engine", remember)
    classifier = Classifier(net)
    classifier.predict(images_in([folder])[:5])
    assert asked == [5]
    assert classifier.engine().name == "torch"


@pytest.mark.parametrize("missing", ["preprocess", "classes"])
def test_a_network_that_lacks_something_is_refused(net: Network, missing: str) -> None:
    bare = build("googlenet", width=0.125, num_classes=3)
    bare.preprocess, bare.classes = net.preprocess, net.classes
    setattr(bare, missing, None)
    with pytest.raises(ValueError, match=f"has no {missing}"):
        Classifier(bare)


@pytest.mark.parametrize("images", ["a.png", [b"x"]])
def test_top_k_below_one_is_refused_and_above_the_classes_is_all(net: Network, images: object, folder: Path) -> None:
    with pytest.raises(ValueError, match="top_k is 0"):
        Classifier(net).predict(images, top_k=0)  # type: ignore[arg-type]
    (prediction,) = Classifier(net).predict(folder / "ant" / "0.png", top_k=99)
    assert len(prediction.top_k) == 3


def test_folders_give_their_images_in_natural_order_without_hidden_ones(folder: Path, tmp_path: Path) -> None:
    names = [os.path.relpath(file, folder) for file in images_in([folder])]
    assert names == [*(f"ant/{i}.png" for i in range(0, 11, 2)), *(f"bee/{i}.png" for i in range(1, 11, 2))]
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "1.png").touch()
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / odd).touch()
    extra = str(folder / "ant" / "notes.txt")
    assert images_in([extra, tmp_path, "missing.png"]) == [extra, str(tmp_path / odd), "missing.png"]


def test_a_file_whose_name_is_no_text_is_classified(net: Network, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (40, 40), "red").save(odd)
    assert Classifier(net).predict(images_in([tmp_path])) == [Prediction(file=str(odd), top_k=_top(net, odd))]


def _top(net: Network, file: Path) -> tuple[tuple[str, float], ...]:
    return Classifier(net).predict(file.read_bytes())[0].top_k
