"""Ablations: statistics against tables, arms against networks, and studies that stop, go on and tell the truth."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from inceptions.anatomy import cost
from inceptions.cli import main
from inceptions.image import Preprocess
from inceptions.report.study import study_page, verdict
from inceptions.studies import study
from inceptions.studies.claims import STUDIES
from inceptions.studies.significance import estimate, holm, paired_difference, t_cdf, t_quantile
from inceptions.studies.study import DIVERGED, arm_config, conduct, summary
from inceptions.training import TrainConfig
from inceptions.training.loop import DivergenceError
from inceptions.training.resolve import network
from inceptions.weights import artifact
from inceptions.zoo import build
from tiny import config, write_images

# --- statistics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=5e-5)
    assert t_cdf(t_quantile(degrees), degrees) == pytest.approx(0.975)


def test_students_t_nears_the_normal_distribution() -> None:
    assert t_cdf(0, 7) == 0.5
    assert t_quantile(2001) == pytest.approx(1.9612, abs=1e-4)


def test_an_estimate_is_students_interval() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_run_says_nothing_of_chance() -> None:
    found = estimate([0.7])
    assert (found.low, found.high) == (-math.inf, math.inf)
    difference = paired_difference([0.9], [0.1])
    assert difference.p == 1.0
    assert not difference.significant


def test_pairs_are_compared_as_pairs() -> None:
    """Seeds differ a lot, arms by a constant: only the pairing sees it."""
    seeds = [0.2, 0.5, 0.8]
    better = [0.31, 0.6, 0.89]
    found = paired_difference(better, seeds)
    assert found.mean == pytest.approx(0.1)
    assert found.significant
    # Hand calculation: differences 0.11, 0.10, 0.09 have s = 0.01, so t = 0.1 / (0.01 / sqrt(3)).
    assert found.p == pytest.approx(2 * (1 - t_cdf(0.1 / (0.01 / math.sqrt(3)), 2)))
    assert not paired_difference([0.31, 0.9, 0.6], seeds).significant


def test_differences_without_spread_are_certain() -> None:
    assert paired_difference([0.5, 0.5], [0.5, 0.5]).p == 1.0
    assert paired_difference([1.0, 1.0], [0.5, 0.5]).p == 0.0


def test_a_spread_below_what_the_images_resolve_does_not_count() -> None:
    """Three runs an image of 24 apart look certain by their spread, and are not."""
    found = paired_difference([13 / 24] * 3, [12 / 24] * 3, images=24)
    error = 1 / (24 * math.sqrt(6)) / math.sqrt(3)
    assert found.p == pytest.approx(2 * (1 - t_cdf(1 / 24 / error, 2)))
    assert not found.significant
    assert found.high - found.mean == pytest.approx(4.302653 * error, rel=1e-6)
    values, reference = [0.31, 0.6, 0.89], [0.2, 0.5, 0.8]
    assert paired_difference(values, reference, images=736) == paired_difference(values, reference)
    assert paired_difference([0.5] * 3, [0.5] * 3, images=24).p == 1.0


def test_many_comparisons_are_judged_more_strictly() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


# --- claims -------------------------------------------------------------------------------------------------------

ARMS = [(name, arm) for name, one in STUDIES.items() for arm in one.arms]


@pytest.mark.parametrize(("name", "arm"), ARMS, ids=lambda value: getattr(value, "name", value))
def test_every_arm_is_a_network_that_can_be_built(name: str, arm: Any) -> None:
    asked = arm_config(TrainConfig("data", model=STUDIES[name].model), arm, 0, Path("out"))
    with torch.device("meta"):
        build(asked.model, **asked.options, **({"aux": True} if asked.aux else {}))


@pytest.mark.parametrize("name", STUDIES)
def test_arms_differ_from_each_other_and_live_apart(name: str, tmp_path: Path) -> None:
    asked = [arm_config(TrainConfig("data"), arm, 3, tmp_path) for arm in STUDIES[name].arms]
    assert len({one.output for one in asked}) == len(asked)
    plain = [json.dumps({**one.to_dict(), "output": None}, sort_keys=True) for one in asked]
    assert len(set(plain)) == len(asked)
    assert all(one.seed == 3 for one in asked)


@pytest.mark.parametrize(("name", "cheaper"), [("reduction", 0), ("factorisation", 0), ("separable", 0)])
def test_what_is_claimed_to_be_cheaper_is(name: str, cheaper: int) -> None:
    costs = []
    for arm in STUDIES[name].arms:
        with torch.device("meta"):
            net = build(STUDIES[name].model, **dict(arm.settings).get("options", {}))
        costs.append(cost(net, 128).multiply_adds)
    assert costs.index(min(costs)) == cheaper


def test_options_of_an_arm_are_added_to_those_of_the_base() -> None:
    base = TrainConfig("data", options={"norm_eps": 1e-5}, lr=0.1)
    arms = {arm.name: arm_config(base, arm, 0, Path("out")) for arm in STUDIES["batch_norm"].arms}
    assert arms["no norm, 5x"].options == {"norm_eps": 1e-5, "norm": None}
    assert arms["no norm, 5x"].lr == pytest.approx(0.5)
    assert arms["batch norm, 30x"].lr == pytest.approx(3.0)


def test_the_initial_weights_are_scaled(tmp_path: Path) -> None:
    from inceptions.data import load

    data = load(str(write_images(tmp_path / "data", train=2, val=1)))
    plain, large = (network(config(tmp_path / "data", tmp_path, init_scale=scale), data) for scale in (1.0, 10.0))
    first, second = (net.body.conv1.conv.weight for net in (plain, large))  # type: ignore[union-attr]  # a Conv2d
    torch.testing.assert_close(second, 10 * first)  # type: ignore[operator]
    assert torch.equal(plain.head.linear.weight, large.head.linear.weight)  # type: ignore[arg-type,union-attr]


# --- studies ------------------------------------------------------------------------------------------------------

Curve = Callable[[TrainConfig], list[float]]


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> Callable[[Curve], list[str]]:
    """Puts runs that only write what a run leaves in the place of training; returns the list of those that ran."""

    def install(curve: Curve) -> list[str]:
        ran: list[str] = []

        def train(asked: TrainConfig) -> None:
            folder = asked.output
            assert folder is not None
            ran.append(f"{folder.parent.name}/{folder.name}")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump(asked.replace(resume=False).to_dict()))
            values = curve(asked)
            with (folder / "results.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, ["epoch", "val_top1", "seconds"])
                writer.writeheader()
                writer.writerows({"epoch": i + 1, "val_top1": v, "seconds": 2.0} for i, v in enumerate(values))
            net = build(asked.model, width=0.05, depth=0.1, stem="small", num_classes=2, **asked.options)
            net.preprocess, net.classes = Preprocess(size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3), ("a", "b")
            artifact.save(net, folder / "model", metrics={"val": {"n": 40}})
            (folder / "predictions.csv").write_text("file\n")

        monkeypatch.setattr(study, "train", train)
        return ran

    return install


BASE = TrainConfig("data", model="googlenet", epochs=2)


def test_every_arm_runs_with_every_seed_and_is_not_repeated(imagined: Any, tmp_path: Path) -> None:
    ran = imagined(lambda asked: [0.1, 0.5])
    conduct("reduction", BASE, tmp_path, seeds=2)
    assert ran == [f"{arm}/seed-{seed}" for seed in (0, 1) for arm in ("with-reduction", "naive")]
    conduct("reduction", BASE, tmp_path, seeds=3)
    assert ran[4:] == ["with-reduction/seed-2", "naive/seed-2"]


def test_a_stopped_run_is_resumed(imagined: Any, tmp_path: Path) -> None:
    resumed: list[bool] = []
    imagined(lambda asked: resumed.append(asked.resume) or [0.5])  # type: ignore[func-returns-value]
    conduct("reduction", BASE, tmp_path, seeds=1)
    (tmp_path / "naive" / "seed-0" / "predictions.csv").unlink()
    with pytest.raises(FileNotFoundError, match="run the study again"):
        summary("reduction", BASE, tmp_path, seeds=1)
    conduct("reduction", BASE, tmp_path, seeds=1)
    assert resumed == [False, False, True]


def test_a_clear_difference_is_called_significant_and_noise_is_not(imagined: Any, tmp_path: Path) -> None:
    noise = {0: 0.01, 1: -0.02, 2: 0.005}
    imagined(lambda asked: [0.3, 0.5 + noise[asked.seed] + (0.0 if asked.options else 0.2)])
    clear = conduct("reduction", BASE, tmp_path / "clear")
    imagined(lambda asked: [0.3, 0.5 + (noise[asked.seed] if asked.options else 0.0)])
    chance = conduct("reduction", BASE, tmp_path / "chance")
    assert [arm.significant for arm in clear.arms] == [False, True]
    assert clear.arms[1].difference is not None
    assert clear.arms[1].difference.mean == pytest.approx(-0.2)
    assert "-20.00 points" in verdict(clear, clear.arms[1])
    assert verdict(clear, clear.arms[1]).endswith("significant at this budget.")
    assert not chance.arms[1].significant
    assert "not significant" in verdict(chance, chance.arms[1])


def test_runs_that_differ_by_a_image_each_are_not_called_certain(imagined: Any, tmp_path: Path) -> None:
    imagined(lambda asked: [21 / 40 if asked.options else 20 / 40])
    result = conduct("reduction", BASE, tmp_path / "one")
    assert not result.arms[1].significant
    assert "(95 %: -0.04 to +5.04, 3 pairs of runs" in verdict(result, result.arms[1])


def test_an_interval_too_narrow_to_show_is_not_shown(
    imagined: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_size", lambda folders: (1, 1, 1_000_000))
    imagined(lambda asked: [0.5])
    result = conduct("reduction", BASE, tmp_path)
    assert verdict(result, result.arms[1]).endswith(
        "+0.00 points of top-1 (3 pairs of runs, p 1.000): not significant at this budget."
    )


def test_fewer_seeds_than_an_interval_needs_are_told(
    imagined: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    imagined(lambda asked: [0.5])
    conduct("reduction", BASE, tmp_path, seeds=3)
    assert "fewer than" not in caplog.text
    conduct("reduction", BASE, tmp_path, seeds=2)
    assert "seeds is 2: with fewer than 3 runs of each arm the interval is meaningless" in caplog.text


def test_curves_are_means_over_the_seeds(imagined: Any, tmp_path: Path) -> None:
    imagined(lambda asked: [0.1 * asked.seed, 0.2 * asked.seed])
    result = conduct("reduction", BASE, tmp_path)
    assert [epoch.mean for epoch in result.arms[0].epochs] == pytest.approx([0.1, 0.2])
    assert result.n == 40
    assert result.arms[0].seconds == 4.0
    assert (result.arms[0].parameters or 0) > 0
    assert (result.arms[1].multiply_adds or 0) > (result.arms[0].multiply_adds or 0)


def test_a_run_that_diverges_is_a_result(imagined: Any, tmp_path: Path) -> None:
    def curve(asked: TrainConfig) -> list[float]:
        if asked.options and asked.seed != 1:
            raise DivergenceError("the loss is not finite at step 7")
        return [0.4, 0.5]

    ran = imagined(curve)
    result = conduct("reduction", BASE, tmp_path)
    naive = result.arms[1]
    assert sorted(naive.diverged) == [0, 2]
    assert list(naive.curves) == [1]
    assert "step 7" in (tmp_path / "naive" / "seed-0" / DIVERGED).read_text()
    assert "use more seeds" in verdict(result, naive)
    conduct("reduction", BASE, tmp_path)
    assert len(ran) == 6  # not tried again


def test_an_arm_that_always_diverges_has_no_number(imagined: Any, tmp_path: Path) -> None:
    def curve(asked: TrainConfig) -> list[float]:
        if asked.options:
            raise DivergenceError("the loss is not finite")
        return [0.5]

    imagined(curve)
    result = conduct("reduction", BASE, tmp_path, seeds=2)
    assert result.arms[1].final is None
    assert "every run diverged" in verdict(result, result.arms[1])
    assert result.to_dict()["arms"][1]["top1"] is None
    assert "every run diverged" in study_page(result, "inceptions study")


def test_runs_with_other_settings_are_not_taken_for_ours(imagined: Any, tmp_path: Path) -> None:
    imagined(lambda asked: [0.5])
    conduct("reduction", BASE, tmp_path, seeds=1)
    with pytest.raises(ValueError, match=r"other settings \(epochs 2 -> 9\)"):
        conduct("reduction", BASE.replace(epochs=9), tmp_path, seeds=1)


def test_arms_say_how_they_differ(imagined: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    imagined(lambda asked: [0.5])
    with caplog.at_level("INFO"):
        page = study_page(conduct("batch_norm", BASE.replace(model="bn_inception"), tmp_path, seeds=1), "")
    assert "<td>learning rate times 5</td>" in page
    assert "<td>options norm –; learning rate times 5</td>" in page
    assert "running" in caplog.text
    assert "starting over" not in caplog.text  # nothing was there to go on with


def test_a_network_without_an_arms_option_is_refused_before_anything_is_trained(imagined: Any, tmp_path: Path) -> None:
    ran = imagined(lambda asked: [0.5])
    with pytest.raises(ValueError, match=r"norm=None is not allowed; choose 'lrn' or 'batch'"):
        conduct("batch_norm", BASE, tmp_path)
    assert ran == []


def test_the_page_tells_claim_numbers_and_settings(imagined: Any, tmp_path: Path) -> None:
    imagined(lambda asked: [0.2, 0.5 + 0.01 * asked.seed + (0.1 if asked.options else 0.0)])
    page = study_page(conduct("reduction", BASE, tmp_path), "inceptions study reduction <b>data</b>")
    for words in ("1409.4842, section 4", "51.00", "61.00", "+10.00", "reduce no", "&lt;b&gt;data", "<svg"):
        assert words in page, words
    assert page.count('class="band"') == 2


@pytest.mark.parametrize(
    ("name", "seeds", "words"), [("nothing", 3, "there are: reduction"), ("order", 0, "at least 1")]
)
def test_impossible_studies_are_refused_in_words(name: str, seeds: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        conduct(name, BASE, tmp_path, seeds=seeds)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nothing", "data"], "there are: reduction"), (["order", "data", "--seeds", "0"], "at least 1")],
)
def test_an_impossible_study_is_wrong_usage(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["study", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_command_trains_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "data", train=6, val=3, classes=2)
    words = ["study", "reduction", str(data), "--seeds", "2", "--epochs", "1", "--width", "0.05", "--depth", "0.1",
             "--stem", "small", "--img-size", "32", "-b", "6", "-j", "0", "--device", "cpu", "--crop", "none",
             "--options.norm", "batch", "--output", str(tmp_path / "study"), "--json"]  # fmt: skip
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(arm["name"], arm["runs"]) for arm in found["arms"]] == [("with reduction", 2), ("naive", 2)]
    assert found["n"] == 6
    assert (tmp_path / "study" / "study.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "study" / "naive" / "seed-1" / "model" / "model.safetensors").exists()


def test_without_a_name_the_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in STUDIES)
