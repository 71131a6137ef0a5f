"""`inceptions train`: from labeled images to a model."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from inceptions.cli.terminal import print_json
from inceptions.progress import log
from inceptions.training.config import TrainConfig


class Given(TrainConfig):
    """Settings that remember which of them were given: only these override a recipe, or a stored run's."""

    def __new__(cls, *data: str, **settings: Any) -> Given:
        self = super().__new__(cls)
        object.__setattr__(self, "given", dict(zip(("data",), data, strict=False)) | settings)
        return self

    def __post_init__(self) -> None:
        """Nothing is checked before the recipe has been asked."""

    def settle(self, recipe: str | None, **preset: Any) -> TrainConfig:
        """The defaults, or those of the run that is resumed, changed by the recipe, by `preset` and by those given.

        Raises:
            ValueError: unknown recipe; settings out of range or in conflict.
        """
        from inceptions.recipes import configure, settings
        from inceptions.training.folder import stored_settings
        from inceptions.training.resolve import default_output, network_of
        from inceptions.zoo import parse_options

        given: dict[str, Any] = preset | vars(self)["given"]
        if "options" in given:  # text so far: which types they have, the network knows
            given["options"] = parse_options(given["options"])
        asked = settings(recipe) | given
        if self.resume and "output" not in asked and "data" in asked:
            asked["output"] = default_output(asked["data"], network_of(TrainConfig(**asked)))
        stored = stored_settings(asked["output"], resume=True) if self.resume and "output" in asked else None
        if stored is not None:
            return stored.replace(**{"max_time": None, **asked})
        return configure(recipe, given.pop("data", ""), **given)


def train(
    config: Annotated[Given, Parameter(name="*")] = Given(),  # noqa: B008 - frozen
    *,
    recipe: str | None = None,
    json: bool = False,
) -> None:
    """Train a network on labeled images, or adapt a published one.

    The run's folder ends with report.html, one page that shows all of it.

    Args:
        recipe: googlenet, bn_inception, inception_v3, inception_v4, xception (as in the papers), finetune, head, or
            modern: named settings, which any flag overrides.
        json: end with one JSON object: output, model, top1, seconds and more.
    """
    from inceptions.report import write_report
    from inceptions.training import train as run

    result = run(config.settle(recipe))
    log.info("the report is %s", write_report(result.output))
    if json:
        print_json(result.to_dict())
    else:
        print(f"{result.top1:.2%} right on {result.metrics.n} validation images; the model is {result.output}/model")
