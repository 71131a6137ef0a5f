"""What names say: splits in the spellings of public data sets, things that only sound like them, labels of any type."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from inceptions.data.readers.names import folded, is_wrapper, label_of, may_be_class, split_called, splits_among


@pytest.mark.parametrize(
    ("split", "spellings"),
    [
        (
            "train",
            "train TRAIN TrAiN training Training training_set train-images images_train trainset train1 train2017",
        ),
        ("train", "train_val trainval trainA TrainingImages traindata train(1) train_256x256 1_train 训练集 train.v2"),
        ("val", "val Valid validation Validation_Set val2017 valset dev dev-set images.val 验证集"),
        ("test", "test Test1 TESTING test_set testset test-A tests PublicTest private_test eval evaluation 测试"),
        ("test", "holdout hold-out Hold_Out held_out pred predictions unlabeled"),
    ],
)
def test_names_that_mean_a_split(split: str, spellings: str) -> None:
    assert {name: split_called(name) for name in spellings.split()} == dict.fromkeys(spellings.split(), split)


def test_words_may_be_apart() -> None:
    assert [split_called(name) for name in ("Training Data", "Test Set 2", "hold out")] == ["train", "test", "test"]


def test_names_of_things_mean_no_split() -> None:
    things = "trains trainer valley evaluate evaluator test_tube steam_train contest oval naval rival device developer "
    things += "training_shoes attest invalid validated trainee traintrack cat images 7 a train_test"
    assert [name for name in things.split() if split_called(name)] == []


def test_names_that_differ_in_the_splits_word_only_are_splits() -> None:
    assert splits_among(["seg_train", "seg_test", "seg_pred"]) == {
        "seg_train": "train", "seg_test": "test", "seg_pred": "test",
    }  # fmt: skip
    assert splits_among(["steam_train", "test_tube", "cat"]) == {}
    assert splits_among(["steam_train", "bullet_train", "steam_ship"]) == {}


def test_a_train_is_a_vehicle_and_valid_has_a_contrary() -> None:
    assert may_be_class("train", ["bus"])
    assert may_be_class("Valid", ["Invalid"])
    assert not may_be_class("valid", ["cat"])
    assert not may_be_class("test", ["cat"])
    assert not may_be_class("training_set", ["cat"])


def test_folders_that_only_say_that_images_lie_in_them() -> None:
    assert all(map(is_wrapper, ["images", "JPEGImages", "data", "image_data", "imgs"]))
    assert not any(map(is_wrapper, ["cats", "", "7", "a", "image_of_cat"]))


def test_what_people_do_not_see_in_a_name() -> None:
    assert folded("Caf\u00e9 ") == folded("cafe\u0301")
    assert folded("cat") != folded("cart")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("cat", "cat"), (" cat ", "cat"), ("1.0", "1.0"), (b"cat", "cat"), (3, "3"), (True, "True"), (0.0, "0"),
        (1.5, "1.5"), (-1.0, "-1"), (1e300, str(int(1e300))), (np.float32(2), "2"), (np.int8(3), "3"),
        (np.bool_(False), "False"), (np.str_("cat"), "cat"), (Decimal("1.0"), "1"), (date(2020, 2, 1), "2020-02-01"),
        (None, None), ("", None), ("  ", None), (float("nan"), None), (np.float64("nan"), None), ([1], None),
        ({"a": 1}, None), (np.zeros(3), None), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_labels_of_any_scalar_type_are_names(value: object, label: str | None) -> None:
    assert label_of(value) == label


def test_text_that_is_a_whole_float_is_its_integer_where_cells_have_no_type() -> None:
    assert [label_of(text, typed=False) for text in ("0.0", "12.000", "1.5", "1.", "v1.0", "True")] == [
        "0", "12", "1.5", "1.", "v1.0", "True",
    ]  # fmt: skip
