"""Engines that open a file which `inceptions export` wrote, each with the runtime the file is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.export_folder import RUNTIMES, parts, proof, read_export, refuse_unproven
from inceptions.engines.openvino import PER_REQUEST, PER_THREAD, Streams, core
from inceptions.engines.probe import refuse_elsewhere
from inceptions.engines.pt2 import open_pt2
from inceptions.errors import DataError

Run = Callable[[Tensor], Tensor]


class ExportedEngine(Engine):
    """The network of an export folder, run from the file in it; `export` is what the folder describes."""

    def __init__(
        self, folder: str | Path, *, verified: bool = True, batch_size: int | None = None, threads: int | None = None
    ) -> None:
        """Open the export in `folder`.

        Args:
            verified: refuse an export whose parity with its original was not proven, or, where that was on another
                instruction set, whose probe fails on this one.
            batch_size: images that are run at once; None: what usually is fast; an export for single images runs
                them singly.
            threads: of the CPU; None: as many as PyTorch uses.

        Raises:
            DataError: the folder holds no export, a damaged one, or (with `verified`) one that failed its proof, was
                altered since, or answers differently on this processor.
        """
        self.export = export = read_export(folder)
        self.name = RUNTIMES[export.format]
        usual = PER_REQUEST if export.format == "openvino" else 16
        size = (batch_size or usual) if export.dynamic_batch else 1
        super().__init__(export.precision, size, f"the export is for {self.name}")
        if verified:
            refuse_unproven(export)
        file = export.file
        self.threads = threads or torch.get_num_threads()
        openers: dict[str, Callable[[], Run]] = {
            "onnx": lambda: _open_onnx(file, self.threads),
            "openvino": lambda: self._open_openvino(file),
            "pt2": lambda: open_pt2(file),
        }
        try:
            self._logits = openers[export.format]()
        except DataError:
            raise
        except Exception as error:  # each runtime has its own kinds of error for a damaged file
            raise DataError(f"{file}: {self.name} cannot open it ({error})") from error
        if verified:
            refuse_elsewhere(
                export.folder, self.graph, proof(export.folder), precision=self.precision, runtime=self.name
            )

    def graph(self, inputs: Tensor) -> Tensor:
        """What the file itself answers to `inputs`, which are as it takes them: normalized, or with its preprocessing
        inside as images."""
        return self._logits(inputs)

    @property
    def at_once(self) -> int:
        """As the runtime's engine in memory needs."""
        return self.batch_size * PER_THREAD * self.threads if self.export.format == "openvino" else self.batch_size

    def features(self, images: Tensor) -> Tensor:
        """Raises `ValueError`: the exported graph ends in the classifier."""
        raise ValueError("an export gives logits only; use the run or the model it was made from for features")

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and no features: (N, 0)."""
        if images.ndim != 4 or not len(images):
            raise ValueError(f"an engine takes images (N, C, H, W) with N >= 1, not a tensor {tuple(images.shape)}")
        logits = torch.cat([self._run(part)[0] for part in self._parts(images)])
        return logits, torch.zeros(len(logits), 0)

    def file_size(self) -> int:
        """As in `Engine`."""
        return sum(file.stat().st_size for file in parts(self.export))

    def _parts(self, images: Tensor) -> Iterable[Tensor]:
        return (images,) if self.export.format == "openvino" else super()._parts(images)

    def _open_openvino(self, file: Path) -> Run:
        streams = Streams(core().read_model(file), self.precision, self.threads)
        return lambda images: streams(images, self.batch_size)[0]

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        export, preprocess = self.export, self.export.preprocess
        height, width = preprocess.size
        if export.dynamic_size:
            if min(images.shape[2:]) < export.min_size:
                raise ValueError(
                    f"this export takes images of at least {export.min_size} px a side, not {images.shape[2]} x "
                    f"{images.shape[3]}"
                )
        elif tuple(images.shape[2:]) != (height, width):
            raise ValueError(
                f"this export takes images of {height} x {width} px, not {images.shape[2]} x {images.shape[3]}; "
                "export the model at that size, or with --dynamic-size"
            )
        if export.with_preprocessing:
            # The graph takes RGB whatever the network's order, and divides by the temperature itself.
            rgb = images.flip(1) if preprocess.channel_order == "bgr" else images
            logits = torch.log(self._logits(rgb).clamp_min(torch.finfo(torch.float32).tiny)) * export.temperature
        else:
            logits = self._logits(preprocess.normalize(images))
        return logits, torch.zeros(len(logits), 0)


def _open_onnx(file: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])
