"""What names say: which split a folder, a column or a file means, and what a label is called."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

_SPELLINGS = {
    "train": "train training trainings trn trainval "
    "entrenamiento entrenar apprentissage entrainement treino treinamento addestramento trening egitim "
    "обучение обучающая тренировка тренировочная 训练 訓練 学習 훈련 학습",
    "val": "val valid validation dev "
    "validacion validacao validazione validierung walidacja dogrulama валидация валидационная 验证 驗證 検証 검증",
    "test": "test testing tests tst eval evaluation holdout heldout pred prediction predictions unlabeled unlabelled "
    "prueba pruebas teste testes testowy тест тестовая 测试 測試 テスト 評価 테스트 시험",
}
SPLITS = {word: split for split, words in _SPELLINGS.items() for word in words.split()}
"""A word of a name -> the split it means. `eval` is a test set, as Hugging Face has it: nothing is chosen by it."""

_BESIDE = """
    the my our all new old raw full final small large mini orig original clean copy backup public private labeled
    labelled set sets data dataset datasets image images img imgs pic pics picture pictures photo photos sample samples
    example examples split splits folder folders dir file files part subset v aug augmented cropped resized jpg jpeg png
    daten datensatz satz bilder datos conjunto imagenes dados imagens dati immagini donnees выборка данные
    集 用 数据 數據 图片 图像 データ セット 画像 데이터 셋 세트 용
"""
"""Words that may stand beside a split's and change nothing."""

_WRAPPERS = "data dataset image images img imgs picture pictures photo photos jpg jpeg png jpegimages"
_ONE_WORD = re.compile(  # also run together: trainset, imagestrain
    "(?:{beside})*({split})(?:{beside})*".format(
        beside="|".join(sorted(_BESIDE.split(), key=len, reverse=True)),
        split="|".join(sorted(SPLITS, key=len, reverse=True)),
    )
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_HOLDERS = "image images img imgs photos pictures pics jpegimages fold folds kfold shard shards"
_PARTS = "part parts batch batches chunk chunks subset dataset datasets folder archive zip"
_COPIES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"copy(?: \(?\d+\)?)? of (.+)", r"(.+?)(?: -|_)? ?\bcopy(?: ?\(?\d+\)?)?", r"(.+?) ?\(\d{1,2}\)")
]
_HELD_OUT = re.compile(r"(?i)(hold|held)[\W_]*out")


def split_called(name: str) -> str | None:
    """The split a name means by itself: "train", "val" or "test"; None: it may be the name of anything.

    Every word must belong to a split's name: `train`, `Training_set`, `test1`, `images-val`, `trainA`, `ILSVRC_train`
    is none (yet see `splits_among`), nor are `test tube`, `valley`, `evaluate`, `trains`.
    """
    kinds, further = _parsed(name)
    return _kind(kinds) if not further else None


def splits_among(names: Iterable[str]) -> dict[str, str]:
    """Name -> split, of those that mean one by themselves, or beside the others.

    Names that differ only in their split's word (`seg_train`, `seg_test`) are splits, whatever else they say.
    """
    found: dict[str, str] = {}
    families: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        kinds, further = _parsed(name)
        kind = _kind(kinds)
        if kind is None:
            continue
        if further:
            families[further][name] = kind
        else:
            found[name] = kind
    for family in families.values():
        if len(set(family.values())) > 1:
            found |= family
    return found


def may_be_class(name: str, beside: Iterable[str]) -> bool:
    """Whether a name that means a split is a thing's name too: trains are vehicles, valid has a contrary."""
    word = name.strip().lower()
    contraries = {"".join(_words(other)) for other in beside}
    return word == "train" or (word == "valid" and bool({"invalid", "notvalid", "nonvalid", "unvalid"} & contraries))


def is_wrapper(name: str) -> bool:
    """Whether a folder of that name says only that images lie in it (`images`, `JPEGImages`, `data`)."""
    words, known = _words(name), _WRAPPERS.split()
    return bool(words) and ("".join(words) in known or all(word in known for word in words))


def folded(name: str) -> str:
    """A name without what people do not see: capitals, spaces around it, how its accents are stored."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def numbered_parts(names: Iterable[str]) -> str | None:
    """What folders hold whose names differ in numbers only and say no more than that images lie in them.

    Returns:
        "images" (`images_001`, `HAM10000_images_part_1`, `fold2`: never a thing's name), "parts" (`part_1`, `batch2`:
        seldom one), None: these may be things (`class1`, `s40`), or differ in their words.
    """
    every = list(names)
    words = {tuple(_words(name)) for name in every}
    if len(every) < 2 or len(words) != 1 or not all(re.search(r"\d", name) for name in every):
        return None
    (said,) = words
    if any(word in _HOLDERS.split() for word in said):
        return "images"
    return "parts" if any(word in _PARTS.split() for word in said) else None


def copied_from(name: str) -> str | None:
    """The name that a desktop's copy began with (`Copy of cat`, `cat - Copy`, `cat (1)`, `cat copy 2`)."""
    for pattern in _COPIES:
        if (found := pattern.fullmatch(name.strip())) and found[1].strip():
            return found[1].strip()
    return None


def label_of(value: Any, *, typed: bool = True) -> str | None:
    """The class's name that a cell of a table holds; None: none.

    Text, numbers, truth values and dates are names; whole floats are the integers they stand for (pandas writes a
    column of integers with gaps so: 0.0, 1.0).

    Args:
        value: of Python, numpy or arrow.
        typed: whether the table knows numbers from text; CSV does not, so that its text `1.0` is a number as well.
    """
    item = getattr(value, "item", None)  # a numpy scalar
    if callable(item) and getattr(value, "shape", None) == ():
        value = item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        text = value.strip()
        if not typed and re.fullmatch(r"[+-]?\d{1,15}\.0+", text):
            return str(int(float(text)))
        return text or None
    if isinstance(value, (bool, Integral)):
        return str(value)
    if isinstance(value, (Real, Decimal)):
        if value != value:  # NaN, which fills gaps
            return None
        number = value if isinstance(value, Decimal) else float(value)
        whole = number not in (float("inf"), float("-inf")) and number == int(number)
        return str(int(number)) if whole else str(value)
    return str(value) if isinstance(value, date) else None  # a datetime is a date


def _kind(kinds: list[str]) -> str | None:
    if set(kinds) == {"train", "val"}:
        return "train"  # train_val: both, to learn from
    return kinds[0] if len(set(kinds)) == 1 else None


def _parsed(name: str) -> tuple[list[str], tuple[str, ...]]:
    """(the splits its words mean, its further words); the better of reading capitals as beginnings of words or not."""
    readings = [_reading(_words(name)), _reading(_words(name.lower()))]
    return min(readings, key=lambda reading: (not reading[0], len(reading[1])))


def _reading(words: list[str]) -> tuple[list[str], tuple[str, ...]]:
    kinds, further = [], []
    for word in words:
        if found := _ONE_WORD.fullmatch(word):
            kinds.append(SPLITS[found[1]])
        elif word not in _BESIDE.split() and not (len(word) == 1 and word.isascii()):
            further.append(word)
    return kinds, tuple(further)


def _words(name: str) -> list[str]:
    plain = name if name.isascii() else "".join(map(_without_accent, unicodedata.normalize("NFC", name)))
    return [word.lower() for word in _WORDS.findall(_HELD_OUT.sub(r"\1out", plain))]


def _without_accent(letter: str) -> str:
    """Latin letters as they are without their accents; of other scripts, marks make other letters."""
    plain = unicodedata.normalize("NFD", letter)[0]
    return plain if plain.isascii() else letter
