"""Training: a configuration in, a run folder out.

    config      every setting, one frozen record
    run         `train`: data, network, head and loop in their order, and the run's results
    loop        the loop, on one page
    step, mix, optim, ema   what a step computes
    state, checkpoint, stop   what an interruption must not lose
    folder, logs   what a run leaves behind

Heavy modules are imported when training begins, so that a command line can be checked at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inceptions.training.config import TrainConfig

if TYPE_CHECKING:
    from inceptions.training.run import RunResult

__all__ = ["TrainConfig", "train"]


def train(config: TrainConfig) -> RunResult:
    """Trains what `config` says and writes the run folder `config.output`.

    Returns:
        Where the run lies, and what it reached on the validation part.

    Raises:
        ValueError: settings, data or weights do not fit (the message says how); the loss became infinite.
        FileExistsError: the output holds files, and `config.resume` is off.
        KeyboardInterrupt, SystemExit: stopped by a signal, after saving.
    """
    from inceptions.training.run import run

    return run(config)
