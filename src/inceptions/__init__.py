"""The GoogLeNet family of image classifiers, from Inception v1 to Xception: build, load, train, look inside, ship.

The public names below are imported at their first use, so that `import inceptions` costs nothing by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inceptions.evaluation import evaluate
    from inceptions.image import Preprocess
    from inceptions.models import Model, open_model
    from inceptions.predict import Classifier, load
    from inceptions.training import TrainConfig, train
    from inceptions.weights import create_model
    from inceptions.zoo import list_models

__all__ = [
    "Classifier",
    "Model",
    "Preprocess",
    "TrainConfig",
    "create_model",
    "evaluate",
    "list_models",
    "load",
    "open_model",
    "train",
]

_ROOMS = {
    "Classifier": "predict",
    "Model": "models",
    "Preprocess": "image",
    "TrainConfig": "training",
    "create_model": "weights",
    "evaluate": "evaluation",
    "list_models": "zoo",
    "load": "predict",
    "open_model": "models",
    "train": "training",
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
