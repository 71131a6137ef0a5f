"""Recipes: each is valid, complete about itself, and says what the paper says."""

from __future__ import annotations

import dataclasses
import shlex
import sys

import pytest

from inceptions.cli import main
from inceptions.cli.train import train
from inceptions.errors import DataError
from inceptions.recipes import RECIPES, configure
from inceptions.training import TrainConfig
from inceptions.training.optim import learning_rate
from inceptions.zoo import build


def _configured(name: str, **given: object) -> TrainConfig:
    weights = {"weights": "some.safetensors"} if RECIPES[name].settings.get("tune") else {}
    return configure(name, "data", **weights, **given)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_valid_configuration_with_its_source_and_its_measured_result(name: str) -> None:
    recipe = RECIPES[name]
    config = _configured(name)
    assert {key: getattr(config, key) for key in recipe.settings} == dict(recipe.settings)
    assert recipe.title
    assert recipe.source
    assert recipe.command.startswith("inceptions train ")
    assert "n=" in recipe.measured


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_run_is_a_command_that_changes_only_the_budget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[TrainConfig] = []

    def stopped(config: TrainConfig) -> None:
        configs.append(config)
        raise DataError("enough")

    monkeypatch.setattr(sys.modules["inceptions.training"], "train", stopped)
    recipe = RECIPES[name]
    assert main(shlex.split(recipe.command)[1:]) == 3
    (config,) = configs
    assert config.data == "DATA"
    assert f"--recipe {name} " in f"{recipe.command} "
    changed = {key for key, value in recipe.settings.items() if getattr(config, key) != value}
    assert changed <= {"epochs", "model"}


def test_the_help_names_every_recipe() -> None:
    help_text = train.__doc__ or ""
    assert [name for name in RECIPES if name not in help_text] == []


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_only_what_differs_from_the_defaults_or_fixes_them(name: str) -> None:
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(RECIPES[name].settings) <= known


def test_what_is_given_overrides_the_recipe_even_with_a_default_value() -> None:
    assert _configured("modern").smoothing == 0.1
    assert _configured("modern", smoothing=0.0).smoothing == 0.0


def test_without_a_recipe_there_are_the_defaults() -> None:
    assert configure(None, "data", lr=0.3) == TrainConfig("data", lr=0.3)


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"modren.*did you mean 'modern'"):
        configure("modren", "data")


def test_googlenets_rate_falls_four_percent_every_eight_epochs() -> None:
    config = _configured("googlenet")
    assert learning_rate(config, 8) / learning_rate(config, 7.9) == pytest.approx(0.96)
    assert (config.momentum, config.aux, config.opt) == (0.9, True, "sgd")
    assert (config.scale, config.ratio) == ((0.08, 1.0), (3 / 4, 4 / 3))


def test_bn_inception_has_five_times_the_rate_and_decays_six_times_as_fast_with_a_fifth_of_the_penalty() -> None:
    config, before = _configured("bn_inception"), _configured("googlenet")
    assert config.lr == pytest.approx(5 * 0.0015)
    assert before.decay_epochs / config.decay_epochs == pytest.approx(6)
    assert before.weight_decay / config.weight_decay == pytest.approx(5)
    assert config.drop_rate == 0.0
    assert config.color_jitter < before.color_jitter


def test_inception_v3_is_trained_as_its_paper_and_its_released_code_say() -> None:
    config = _configured("inception_v3")
    assert (config.opt, config.opt_decay, config.opt_eps, config.momentum) == ("rmsproptf", 0.9, 1.0, 0.9)
    assert learning_rate(config, 2) == pytest.approx(0.045 * 0.94)
    assert (config.clip_grad, config.smoothing, config.aux) == (2.0, 0.1, True)
    assert (config.model_ema, config.decay_all) == (True, False)


@pytest.mark.parametrize("model", ["inception_v4", "inception_resnet_v1", "inception_resnet_v2"])
def test_inception_v4_and_inception_resnet_are_trained_as_v3_without_its_auxiliary_head(model: str) -> None:
    config, before = _configured("inception_v4", model=model), _configured("inception_v3")
    assert config == before.replace(model=model, aux=False)


def test_auxiliary_losses_weigh_as_the_papers_and_their_code_say() -> None:
    assert build("googlenet", width=0.05).aux_weight == 0.3
    assert build("inception_v3", width=0.05).aux_weight == 0.4


def test_modern_holds_todays_habits() -> None:
    config = _configured("modern")
    assert config.sched == "cosine"
    assert config.model_ema
    assert config.trivial
    assert min(config.warmup_epochs, config.mixup, config.cutmix, config.smoothing) > 0


def test_finetune_tunes_everything_gently_and_head_only_the_head() -> None:
    assert _configured("finetune").tune == "all"
    assert _configured("finetune").lr < TrainConfig("data").lr / 10
    assert _configured("head").tune == "head"


def test_xception_is_trained_as_its_paper_says() -> None:
    config = _configured("xception")
    assert (config.opt, config.momentum, config.weight_decay, config.drop_rate) == ("sgd", 0.9, 1e-5, 0.5)
    assert [learning_rate(config, epoch) for epoch in (0, 2, 4)] == pytest.approx(
        [0.045, 0.045 * 0.94, 0.045 * 0.94**2]
    )
    assert config.model_ema
    assert not config.aux
