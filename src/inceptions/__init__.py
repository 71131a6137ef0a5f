"""The GoogLeNet family of image classifiers, from Inception v1 to Xception: build, load, train, look inside, ship.

The public names below are imported at their first use, so that `import inceptions` costs nothing by itself.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inceptions.evaluate import evaluate
    from inceptions.image import Preprocess
    from inceptions.predict import Classifier, load
    from inceptions.train import TrainConfig, train
    from inceptions.weights import create_model
    from inceptions.zoo import list_models

__all__ = ["Classifier", "Preprocess", "TrainConfig", "create_model", "evaluate", "list_models", "load", "train"]

_ROOMS = {
    "Classifier": "predict",
    "Preprocess": "image",
    "TrainConfig": "train",
    "create_model": "weights",
    "evaluate": "evaluate",
    "list_models": "zoo",
    "load": "predict",
    "train": "train",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("inceptions")
    if name not in _ROOMS:
        raise AttributeError(f"module 'inceptions' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = getattr(import_module(f"inceptions.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


class _Package(ModuleType):
    """Keeps `inceptions.train` and `inceptions.evaluate` the functions, though rooms of these names exist too.

    Importing a room binds it in its package under its own name; where a public name is spelt the same, that one wins.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _ROOMS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
