"""`inceptions explain`: which pixels contributed to a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inceptions.cli.terminal import plain, print_json
from inceptions.errors import DataError
from inceptions.progress import log, track

if TYPE_CHECKING:
    from inceptions.explain import Explanation
    from inceptions.report.explained import Explained, Plate
    from inceptions.zoo import Network

MAPS = 64
"""Feature maps that a sheet shows."""
SIDE = 256
"""Pixels that a written map has at least, however small the image was."""


def explain(
    model: str,
    /,
    *images: str,
    method: Literal["grad_cam", "integrated_gradients", "occlusion"] = "grad_cam",
    target: str | None = None,
    stage: str | None = None,
    branches: bool = False,
    feature_maps: bool = False,
    filters: bool = False,
    whole: bool = False,
    top_k: int = 3,
    output: Path = Path("explained"),
    weights_part: str | None = None,
    json: bool = False,
) -> None:
    """Show which pixels contributed to a prediction: Grad-CAM, integrated gradients or occlusion.

    Writes a PNG for each image and explained.html, a page with all of them.

    Args:
        model: a folder of a run or a model, or published weights.
        images: files, and folders with everything below them.
        method: grad_cam is fast and coarse, integrated_gradients fine, occlusion slow and faithful.
        target: the class to explain; none: each image's answer.
        stage: where Grad-CAM, --branches and --feature-maps look; none: the last stage whose grid can say where.
        branches: also which branch of the stage answered, with a map for each.
        feature_maps: also what the stage's 64 most active channels show.
        filters: also, once, the kernels of the first layer.
        whole: also the map over the whole image, upright and in its own size (up to 2048 px), with a frame around
            what the network saw: a file that ends in -whole.png.
        top_k: how many of the most probable classes to name.
        output: folder to write to.
        weights_part: of a weight file with several networks: model (as trained), ema (their average), or what the names
            begin with, such as teacher; none: the average where there is one.
        json: print one JSON object an image and line: file, target, top_k, stage, map, branches, written; or file,
            error.
    """
    from inceptions.cli import UsageError
    from inceptions.explain import explain as explained
    from inceptions.image import UnreadableImage
    from inceptions.predict import load_network, some_images
    from inceptions.report.explained import Explained

    if not images:
        raise UsageError("no images given: list files or folders after the model")
    files = some_images(images)
    net = load_network(model, weights_part)
    sheets: list[Explained] = []
    for number, file in enumerate(track(files, description="explaining"), start=1):
        try:
            found = explained(
                net, file, target=target, method=method, stage=stage, top_k=top_k, branches=branches,
                feature_maps=feature_maps, whole=whole,
            )  # fmt: skip
        except UnreadableImage as error:
            log.warning("%s: %s", file, error.reason)
            if json:
                print_json({"file": file, "error": error.reason})
            continue
        output.mkdir(parents=True, exist_ok=True)
        # a number in front: two folders may hold images of one name
        plates = _plates(found, output / f"{number:0{len(str(len(files)))}d}-{Path(file).stem}")
        _save(plates)
        sheets.append(Explained(file=file, found=found, plates=plates))
        _say(sheets[-1], json=json)
    if not sheets:
        raise DataError(f"none of the {len(files)} images could be read")
    _page(model, net, method, sheets, output, filters=filters)


def _page(model: str, net: Network, method: str, sheets: Sequence[Explained], output: Path, *, filters: bool) -> None:
    from inceptions.files import write_atomically
    from inceptions.report.explained import explained_page

    kernels = _filters(net, output) if filters else None
    if kernels:
        _save([kernels])
    page = output / "explained.html"
    write_atomically(page, explained_page(_called(model, net), method, sheets, kernels))
    log.info("the page is %s", page)


def _called(model: str, net: Network) -> str:
    path = Path(model)
    return f"{path.resolve().name} ({net.name})" if path.exists() else model


def _plates(found: Explanation, path: Path) -> list[Plate]:
    """What is shown of one image; files begin with `path`."""
    from inceptions.explain import overlaid, overlaid_whole, sheet
    from inceptions.report.explained import Plate

    # Not with_suffix, which would take what stands behind a name's last dot.
    file = f"{path}{{}}.png".format
    plates = [
        Plate(title="what the network saw", image=found.image),
        Plate(
            title=f"evidence for {found.target}",
            image=overlaid(found.image, found.map, side=SIDE),
            path=Path(file("")),
        ),
    ]
    if found.whole is not None:
        title = f"evidence for {found.target}, on the whole image"
        plates.append(
            Plate(title=title, image=overlaid_whole(found.whole, found.seen, found.map), path=Path(file("-whole")))
        )
    strongest = max((branch.map.abs().max().item() for branch in found.branches), default=0.0)
    plates += [
        Plate(
            title=f"branch {branch.name} ({branch.channels} channels): {branch.contribution:+.3f}",
            image=overlaid(found.image, branch.map, strongest=strongest, side=SIDE),
            path=Path(file(f"-branch-{branch.name}")),
        )
        for branch in found.branches
    ]
    if found.feature_maps is not None:
        maps = sheet(found.feature_maps[:MAPS], scale=max(1, 64 // found.feature_maps.shape[2]))
        title = f"the most active channels of {found.stage}"
        plates.append(Plate(title=title, image=maps, path=Path(file("-channels")), lossless=True))
    return plates


def _filters(net: Network, output: Path) -> Plate:
    from inceptions.explain import first_filters, sheet
    from inceptions.report.explained import Plate

    kernels = first_filters(net)
    drawn = sheet(kernels, scale=max(1, 48 // kernels.shape[2]))
    return Plate(title="what the first layer looks for", image=drawn, path=output / "filters.png", lossless=True)


def _save(plates: Sequence[Plate]) -> None:
    for plate in plates:
        if plate.path:
            plate.image.save(plate.path)


def _say(one: Explained, *, json: bool) -> None:
    found = one.found
    written = [str(plate.path) for plate in one.plates if plate.path]
    if json:
        print_json(
            {
                "file": one.file,
                "target": found.target,
                "top_k": [{"label": label, "probability": probability} for label, probability in found.answers],
                "stage": found.stage,
                "map": written[0],
                "branches": [{"name": branch.name, "contribution": branch.contribution} for branch in found.branches],
                "written": written,
            }
        )
        return
    label, probability = found.answers[0]
    print(f"{plain(one.file)}  {plain(label)} {probability:.1%}  {plain(written[0])}")
    for branch in found.branches:
        print(f"    {branch.name:8} {branch.contribution:+8.3f} logits for {plain(found.target)}")
