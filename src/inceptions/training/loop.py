"""The training loop, on one page: read `Training.fit` from top to bottom, then what it calls, in its order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inceptions.data import Batch, Dataset, balanced_order, batches, epoch_order
from inceptions.errors import RunError, some
from inceptions.evaluation import Metrics, evaluate
from inceptions.progress import log, note, track
from inceptions.training import checkpoint
from inceptions.training.config import TrainConfig
from inceptions.training.ema import Average
from inceptions.training.logs import Logs, write_results
from inceptions.training.losses import loss_weight, soft_targets
from inceptions.training.mixup import mix
from inceptions.training.optim import learning_rate, optimizer
from inceptions.training.resolve import batch_count, loss_weights
from inceptions.training.signals import Stop
from inceptions.training.state import State
from inceptions.training.step import WithLoss, freeze, gradient_norms, norms, parts, seed_step, starved, train_mode
from inceptions.weights import artifact
from inceptions.zoo import Network

LOOK_EVERY = 20  # steps between two looks at a GPU's numbers: each look waits for the device
NORMS_EVERY = 10  # steps between two measurements of the gradients


class DivergenceError(RunError):
    """The loss is not finite."""


class Training:
    """A network, its data, and how far their training has come.

    Args:
        config: decided (`settings.decide`): nothing that the loop needs is None or "auto".
        data: with the splits `train` and `val`.
        net: with `preprocess` and `classes`; trained in place.
        folder: of the run.
    """

    def __init__(self, config: TrainConfig, data: Dataset, net: Network, folder: Path) -> None:
        assert isinstance(config.batch_size, int)
        assert config.workers is not None
        self.config, self.data, self.net, self.folder = config, data, net, folder
        self.batch_size, self.workers = config.batch_size, config.workers
        self.device = torch.device(config.device)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        net.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload]  # torch's stubs lack it
        self.frozen = freeze(net, config.tuned_stages) + (norms(net) if config.freeze_norm else [])
        still = {module for stage in self.frozen for module in stage.modules()}
        self.fewest = 1 if still.issuperset(norms(net)) else 2  # of one image batch norm could learn nothing
        weights = loss_weights(config, data)
        module = WithLoss(net, aux_weight=config.aux_weight, class_weights=weights).to(self.device)
        self.forward: Callable[..., Any] = torch.compile(module) if config.compile else module
        self.class_weights = None if weights is None else weights.double().cpu()
        self.weights: list[float] = []  # of the running step's batches in its loss
        self.optimizer = optimizer(net, config)
        self.precision = getattr(torch, config.amp_dtype) if config.amp else torch.float32
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)
        self.average = Average(net, config.model_ema_decay) if config.model_ema else None
        self.evaluated: Network = self.average.net if self.average else net
        self.parts = parts(net)
        self.state = State.new(len(self.parts), self.device)
        self.batches = batch_count(len(data.splits["train"]), config)
        self.stop = Stop()
        self.clock = self.saved_at = time.monotonic()

    def fit(self) -> None:
        """Trains from where the state is until the epochs are done, or patience or time are over.

        Raises:
            KeyboardInterrupt, SystemExit: a signal came; the step was finished and saved.
            DivergenceError: the loss is not finite; nothing was saved since.
        """
        config, state, stop = self.config, self.state, self.stop
        deadline = time.monotonic() + config.max_seconds
        with stop, Logs(self.folder, purge_from=state.step) as self.logs:
            if state.rows:
                write_results(self.folder / "results.csv", state.rows)  # whatever happened to the file since
            self.clock = self.saved_at = time.monotonic()
            for epoch in track(range(state.epoch, config.epochs), description="epochs", unit="epochs"):
                if config.patience and epoch - state.best_epoch >= config.patience:
                    log.info("no better validation loss for %d epochs: stopping", config.patience)
                    break
                train_mode(self.net, self.frozen)
                for batch in self.train_batches():
                    self.backward(batch)
                    if self.step_ends:
                        self.update(rate := self._rate())
                        if state.step % LOOK_EVERY == 0 or self.device.type == "cpu":
                            self._look(rate)
                        if stop.signal or time.monotonic() > deadline:
                            break
                        if time.monotonic() - self.saved_at >= config.checkpoint_every:
                            self.save()
                unfinished = state.batch < self.batches
                if unfinished or stop.signal:
                    self.save()
                if stop.signal:
                    stop.leave()
                self._end_epoch(self._validate())
                if not unfinished:  # else the checkpoint stays where the time limit struck
                    self.save()
                if time.monotonic() > deadline:
                    log.info("the time limit of %s is reached; use --resume to continue", config.max_time)
                    break
            if stop.signal:  # it came after the last step
                stop.leave()

    def train_batches(self) -> Iterator[Batch]:
        """The batches of the epoch from the state's position on."""
        config, state, split = self.config, self.state, self.data.splits["train"]
        order = epoch_order(len(split), seed=config.seed, epoch=state.epoch)
        if config.balanced_sampler:
            order = balanced_order(split.targets, seed=config.seed, epoch=state.epoch)
        order = order[: self.batches * self.batch_size]
        feed = batches(
            split,
            self.net.preprocess,
            batch_size=self.batch_size,
            workers=self.workers,
            augment=config.augment(),
            order=order,
            seed=config.seed,
            epoch=state.epoch,
            start=state.batch,
        )

        title, left = f"epoch {state.epoch + 1}/{config.epochs}", len(order) - state.batch * self.batch_size
        yield from track(self._timed(feed), description=title, total=left, amount=lambda b: len(b) + len(b.refused))

    def _timed(self, feed: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; adds the time that is spent waiting for them to the state."""
        while True:
            asked = time.monotonic()
            batch = next(feed, None)
            self.state.waiting += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    @property
    def step_ends(self) -> bool:
        """Whether the last batch done is the last of an optimizer step."""
        return self.state.batch % self.config.grad_accum_steps == 0 or self.state.batch == self.batches

    def backward(self, batch: Batch) -> None:
        """Adds one batch's gradients. Everything random in it is a function of the seed and the batch's number.

        A step's loss is the sum of the losses of all its images over the sum of their weights, however they were
        divided into batches and whichever could not be read. What the weights sum up to is known with the last batch
        only, which therefore corrects the gradients, where they need it: until then each batch has its share of a sum
        in which all batches weigh what the first one does.
        """
        config, state = self.config, self.state
        number = state.epoch * self.batches + state.batch
        first = state.batch // config.grad_accum_steps * config.grad_accum_steps  # of this optimizer step
        batches = min(config.grad_accum_steps, self.batches - first)
        if state.batch == first:
            self.weights = []
        random = seed_step(config.seed, number)
        state.batch += 1
        for refused in batch.refused:
            state.refused[refused.file] = refused.reason
        if len(batch.targets) >= self.fewest:
            self.weights.append(loss_weight(batch.targets, self.class_weights, config.smoothing))
            self._add(batch, random, number, share=self.weights[-1] / (batches * self.weights[0]))
        if self.step_ends and self.weights:
            correction = batches * self.weights[0] / sum(self.weights)
            gradients = [weight.grad for weight in self.net.parameters() if weight.grad is not None]
            if correction != 1 and gradients:
                torch._foreach_mul_(gradients, correction)

    def _add(self, batch: Batch, random: np.random.Generator, number: int, *, share: float) -> None:
        """Adds the gradients of `share` times one batch's mean loss, and counts the batch."""
        config = self.config
        images, labels = self._images(batch.images), batch.targets.to(self.device, non_blocking=True)
        targets = soft_targets(labels, self.net.num_classes, config.smoothing)
        images, targets = mix(images, targets, mixup=config.mixup, cutmix=config.cutmix, random=random)
        with torch.autocast(self.device.type, self.precision, enabled=config.amp):
            loss, logits = self.forward(images, targets)
        self.scaler.scale(loss * share).backward()
        self.state.count(loss.detach(), logits.detach(), labels, number, self.weights[-1])

    def update(self, rate: float) -> None:
        """One optimizer step at this learning rate, with the gradients gathered since the last one."""
        config, state = self.config, self.state
        weights = [weight for weight in self.net.parameters() if weight.grad is not None]
        if weights:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.scaler.unscale_(self.optimizer)
            if state.step % NORMS_EVERY == 0 or state.batch <= config.grad_accum_steps:  # each epoch's first, too
                state.measure(gradient_norms(self.parts.values(), self.device))
            if config.clip_grad:
                nn.utils.clip_grad_norm_(weights, config.clip_grad)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average:
                self.average.update(self.net, state.step)
        state.step += 1

    def _rate(self) -> float:
        """The learning rate of the optimizer step that ends with the last batch done."""
        steps = self.config.grad_accum_steps
        first = (self.state.batch - 1) // steps * steps
        return learning_rate(self.config, self.state.epoch + first / self.batches)

    def _look(self, rate: float) -> None:
        """Reads the device's numbers, which waits for it: stops at a loss that is not finite, shows the others."""
        self._check_finite()
        state = self.state
        self._tick()
        loss, top1 = state.averages()
        share = state.waiting / max(state.seconds, 1e-9)
        note(f"loss {loss:.4f}  accuracy {top1:.1%}  lr {rate:.3g}  waiting for data {share:.0%}")
        if state.step % LOOK_EVERY == 0:
            self.logs.scalar("step/loss", loss, state.step)
            self.logs.scalar("step/lr", rate, state.step)

    def _check_finite(self) -> None:
        state, number = self.state, int(self.state.failed)
        if number >= 0:
            done = state.step - self._steps(state.epoch * self.batches + state.batch) + self._steps(number)
            raise self._diverged(f"the loss is not finite in step {done + 1}", number, done)

    def _diverged(self, what: str, batch: int, step: int) -> DivergenceError:
        """The error for a batch by its number; deletes the checkpoints of `step` on: their weights are what failed."""
        good = checkpoint.drop_from(self.folder / "checkpoints", step)
        epoch, place = divmod(batch, self.batches)
        first = place // self.config.grad_accum_steps * self.config.grad_accum_steps  # of the step
        then = "with --resume --override the run continues from there" if good else "with another --output"
        return DivergenceError(
            f"{what} (epoch {epoch + 1}, batch {place + 1}), learning rate "
            f"{learning_rate(self.config, epoch + first / self.batches):.4g}; the last good checkpoint is "
            f"{good or 'none: nothing was saved before'}. A smaller --lr, --warmup-epochs or --clip-grad 1 usually "
            f"helps; {then}"
        )

    def _steps(self, batches: int) -> int:
        """Optimizer steps that so many batches since the run's start make."""
        epochs, rest = divmod(batches, self.batches)
        return epochs * -(-self.batches // self.config.grad_accum_steps) + rest // self.config.grad_accum_steps

    def _validate(self) -> Metrics:
        """The validation part's metrics, under the weights that would be saved."""
        self._check_finite()
        net = self.evaluated.eval()

        @torch.inference_mode()
        def answer(images: Tensor) -> Tensor:
            with torch.autocast(self.device.type, self.precision, enabled=self.config.amp):
                logits: Tensor = net(self._images(images))
            if not logits.isfinite().all():  # the last step, whose loss was not checked, broke the weights
                done, last = self.state.step, self.state.epoch * self.batches + self.state.batch - 1
                raise self._diverged(f"the answers to validation are not finite after step {done}", last, done)
            return logits

        return evaluate(answer, self._val_batches(), self.data.classes)

    def _val_batches(self) -> Iterator[Batch]:
        split = self.data.splits["val"]
        feed = batches(split, self.net.preprocess, batch_size=self.batch_size, workers=self.workers)
        for batch in track(feed, description="validation", total=len(split), amount=lambda b: len(b.targets)):
            if self.stop.signal:
                self.save()
                self.stop.leave()
            yield batch

    def _end_epoch(self, metrics: Metrics) -> None:
        """Writes the epoch's row, keeps the model if it is the best so far, and moves the state to the next epoch."""
        self._tick()
        state = self.state
        if starved(list(self.parts.values()), state.mean_norms()):
            log.warning("vanishing gradients: a weight of the first stage gets under 1/1000 of one of the last")
        row = state.end_epoch(lr=self._rate(), metrics=metrics, parts=list(self.parts))
        if state.best_epoch == state.epoch:
            training = {"settings": self.config.to_dict(), "epoch": state.epoch, "step": state.step}
            artifact.save(self.evaluated, self.folder / "model", training=training, metrics={"val": metrics.to_dict()})
        self.logs.epoch(state.rows, state.refused)
        log.info(
            "epoch %d/%d: loss %.4f, accuracy %.2f %%; validation loss %.4f, accuracy %.2f %%; "
            "%.0f images/s, %.0f %% of the time waiting for data",
            *(state.epoch, self.config.epochs, row["train_loss"], 100 * row["train_top1"]),
            *(metrics.loss, 100 * metrics.top1, row["images_per_second"]),
            100 * row["waiting"] / max(row["seconds"], 1e-9),
        )

    def _images(self, pixels: Tensor) -> Tensor:
        """Images (N, C, H, W) uint8 as the network sees them, on the device."""
        assert self.net.preprocess is not None
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()  # else the copy would wait for the device
        pixels = pixels.to(self.device, non_blocking=True).contiguous(memory_format=self.layout)  # small as bytes
        images: Tensor = self.net.preprocess.normalize(pixels)
        return images

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.clock
        self.clock = now

    def save(self) -> None:
        """Writes a checkpoint of everything that the rest of the run depends on."""
        self._check_finite()
        self._tick()
        slots, numbers = checkpoint.optimizer_state(self.optimizer)
        tensors = checkpoint.named("net", self.net.state_dict()) | checkpoint.named("optimizer", slots)
        tensors |= checkpoint.named("state", self.state.tensors())
        if self.average:
            tensors |= checkpoint.named("average", self.average.net.state_dict())
        facts = {
            "settings": self.config.to_dict(),
            "batches": self.batches,
            "state": self.state.facts(),
            "optimizer": numbers,
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.save(self.folder / "checkpoints", self.state.step, tensors, facts)
        self.saved_at = time.monotonic()

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Takes over what `checkpoint.load` found.

        Raises:
            ValueError: it is of another network (overridden settings).
        """
        try:
            self.net.load_state_dict(checkpoint.section(tensors, "net"))
        except RuntimeError as error:
            _, *problems = map(str.strip, str(error).splitlines())
            raise ValueError(
                f"the checkpoint is of another network, these settings cannot continue it: {some(problems, 1)}"
            ) from error
        if facts["settings"]["opt"] == self.config.opt and facts["settings"]["tune"] == self.config.tune:
            checkpoint.restore_optimizer(self.optimizer, checkpoint.section(tensors, "optimizer"), facts["optimizer"])
        if self.average:
            average = checkpoint.section(tensors, "average") or checkpoint.section(tensors, "net")
            self.average.net.load_state_dict(average)
        if self.scaler.is_enabled() and facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.state.load(checkpoint.section(tensors, "state"), facts["state"])
        if facts["batches"] != self.batches:  # overridden: the position within the epoch has no meaning now
            self.state.begin_epoch()
