"""The proof on real weights: an ImageNet Xception that a user froze under a head of their own, saved by Keras 3.3.

Needs `../shared`; skipped where it is absent. Keras's logits in golden/weights/kitchen.json are those of Keras 3.15 on
PyTorch, for two images that are made from formulas (tests/parity/keras_fixtures.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from inceptions import create_model, data, load
from inceptions.cli import main
from inceptions.engines import open_engine
from inceptions.weights import artifact
from parity.recipe import pixels

SHARED = Path(__file__).parents[2] / "shared"
WEIGHTS = SHARED / "weights" / "xception_imagenet_with_custom_head.keras"
KITCHEN = "cup,fork,glass,knife,plate,spoon"
SAID: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "weights" / "kitchen.json").read_text())

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason=f"needs {WEIGHTS}")


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "kitchen"
    flags = ["--input", "raw", "--img-size", "150", "--crop-pct", "1", "--resize", "stretch", "--labels", KITCHEN]
    assert main(["weights", "convert", str(WEIGHTS), str(folder), *flags]) == 0
    return folder


@pytest.mark.parametrize("kind", SAID["logits"])
def test_the_converted_model_says_what_keras_says(kind: str, kitchen: Path) -> None:
    net = artifact.load(kitchen)
    assert net.preprocess is not None
    with torch.no_grad():
        logits = net(net.preprocess(Image.fromarray(pixels(kind)))[None])[0]
    expected = torch.tensor(SAID["logits"][kind])
    assert ((logits - expected).abs().max() / expected.abs().max()).item() < 1e-5
    assert artifact.describe(kitchen).facts.provenance["sha256"] == SAID["sha256"]


def test_predict_names_kitchen_things_with_keras_logits(
    kitchen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(pixels("noise")).save(tmp_path / "image.png")
    assert main(["predict", str(kitchen), str(tmp_path / "image.png"), "--top-k", "6", "--json"]) == 0
    told = {one["label"]: one["probability"] for one in json.loads(capsys.readouterr().out)["top_k"]}
    # a probability's logarithm is the logit less a number that all six share
    logits = torch.tensor([told[name] for name in KITCHEN.split(",")], dtype=torch.float64).log()
    expected = torch.tensor(SAID["logits"]["noise"], dtype=torch.float64)
    difference = (logits - logits.mean()) - (expected - expected.mean())
    assert (difference.abs().max() / expected.abs().max()).item() < 1e-4
    assert load(kitchen).classes == tuple(KITCHEN.split(","))


def test_the_imagenet_base_is_taken_with_its_published_preprocessing() -> None:
    net = create_model("xception", weights=WEIGHTS, num_classes=5)
    assert (net.num_classes, net.classes, net.options["hidden"]) == (5, None, ())
    assert net.preprocess is not None
    assert net.preprocess.size == (299, 299)
    low, high = (net.preprocess.normalize(torch.full((1, 3, 1, 1), value)).unique() for value in (0.0, 255.0))
    assert (low.item(), high.item()) == (-1.0, 1.0)


def logistic_regression(values: Tensor, targets: Tensor, classes: int) -> torch.nn.Linear:
    """Fitted to convergence: summed cross-entropy and half the squared weights (C = 1, as libraries have it)."""
    linear = torch.nn.Linear(values.shape[1], classes)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = linear.weight.square().sum() / 2 / len(targets)
        loss = torch.nn.functional.cross_entropy(linear(values), targets) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    return linear


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("hymenoptera", 0.98), ("flowers", 0.905)])
def test_pooled_features_separate_real_images(name: str, least: float) -> None:
    """Measured beforehand through a port of these weights: 98 % on ants and bees, about 91 % on flowers."""
    if not (SHARED / "data" / name).exists():
        pytest.skip(f"needs {SHARED / 'data' / name}")
    source = data.load(SHARED / "data" / name)
    net = create_model("xception", weights=WEIGHTS, num_classes=len(source.classes))
    assert net.preprocess is not None
    pytest.importorskip("openvino", reason="thousands of images of 299 px take PyTorch hours on a laptop")
    engine = open_engine(net, engine="openvino", precision="float32", batch_size=16)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for part in ("train", "val"):
        read = list(data.batches(source.splits[part], net.preprocess, batch_size=16, workers=0))
        features = torch.cat([engine.features(torch.as_tensor(batch.images)) for batch in read])
        found[part] = features, torch.cat([torch.as_tensor(batch.targets) for batch in read])
    linear = logistic_regression(*found["train"], len(source.classes))
    values, targets = found["val"]
    top1 = (linear(values).argmax(1) == targets).float().mean().item()
    print(f"{name}: top-1 {top1:.4f} on {len(targets)} images")
    assert top1 >= least
