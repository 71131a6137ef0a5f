"""`inceptions lr-find`: which learning rate suits a network and images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from inceptions.cli.terminal import print_json
from inceptions.cli.train import Given


def lr_find(
    config: Annotated[Given, Parameter(name="*")] = Given(),  # noqa: B008 - frozen
    *,
    recipe: str | None = None,
    steps: int = 100,
    lowest: float = 1e-6,
    highest: float = 10.0,
    plot: Path = Path("lr-find.png"),
    json: bool = False,
) -> int:
    """Try growing learning rates for a moment, and suggest the one at which the loss falls fastest.

    Takes the settings of `inceptions train`, and writes nothing but the plot. Exit code 1 where no rate stands out.

    Args:
        recipe: as for train.
        steps: of the optimizer; it ends earlier where the loss explodes.
        lowest: the first learning rate.
        highest: the last learning rate.
        plot: where to draw the curve (png, svg, pdf).
        json: print one JSON object: suggestion (null: none stands out), rates, losses, smoothed, plot.
    """
    from inceptions.cli import UsageError
    from inceptions.training.lr_finder import find_rate

    if plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {plot}: the name must end in .png, .svg or .pdf")

    if of_runs := sorted({"output", "resume", "override"} & set(vars(config)["given"])):
        raise UsageError(f"--{of_runs[0]}: lr-find keeps no run; --plot FILE says where the curve goes")
    found = find_rate(config.settle(recipe), steps=steps, lowest=lowest, highest=highest)
    found.plot(plot)
    if json:
        print_json({**vars(found), "plot": str(plot)})
    elif found.suggestion:
        print(f"--lr {found.suggestion:.2g} is where the loss falls fastest; the curve is {plot}")
    else:
        print(
            f"the loss never falls by more than chance: try more --steps or a larger --batch-size; the curve is {plot}"
        )
    return 0 if found.suggestion else 1
