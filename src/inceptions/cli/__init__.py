"""The command line: one table, verb -> function, and the frame every verb runs in.

A verb's module is imported when the verb is chosen; its function's signature becomes the flags, its docstring the help.
Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 data invalid, 4 a gate
not met, 130 stopped by Ctrl-C, 143 stopped by SIGTERM, 141 the reader of the output has left.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import NoReturn

from inceptions.errors import DataError, GateError, RunError

VERBS = {
    "train": ("inceptions.cli.train:train", "Train a network on labeled images, or adapt a published one."),
    "lr-find": (
        "inceptions.cli.lr_find:lr_find",
        "Try growing learning rates for a moment, and suggest the one at which the loss falls fastest.",
    ),
    "data check": (
        "inceptions.cli.data:check",
        "Look at every image: counts, unreadable ones, duplicates, sizes, modes.",
    ),
    "val": (
        "inceptions.cli.val:val",
        "Evaluate a model on labeled images: accuracy with its interval, per class, confusion, calibration.",
    ),
    "predict": ("inceptions.cli.predict:predict", "Classify images, and folders of images."),
    "export": (
        "inceptions.cli.export:export",
        "Export a model to ONNX, OpenVINO or .pt2, and prove on images that it gives the same answers.",
    ),
    "benchmark": (
        "inceptions.cli.benchmark:benchmark",
        "Measure throughput, latency, memory and parity on every engine, next to the machine's limit.",
    ),
    "weights convert": (
        "inceptions.cli.weights:convert",
        "Convert weights of any publisher to a model folder: plain tensors, classes and preprocessing.",
    ),
    "weights list": (
        "inceptions.cli.weights_catalogue:list_weights",
        "List the published weights: network, publisher, accuracy, license.",
    ),
    "weights info": (
        "inceptions.cli.weights_catalogue:info",
        "Show what is known about published weights: addresses, hash, preprocessing, accuracy.",
    ),
    "weights pull": (
        "inceptions.cli.weights_catalogue:pull",
        "Download published weights to the cache, verify them, and print their path.",
    ),
    "weights verify": (
        "inceptions.cli.weights_catalogue:verify",
        "Compare a weight file with the hash its publisher states, or that was recorded at its download.",
    ),
    "models": (
        "inceptions.cli.models:models",
        "List the family: generation, paper, year, size and cost of each network.",
    ),
    "inspect": (
        "inceptions.cli.inspect:inspect",
        "Show a network's stages: shapes, parameters, multiply-adds, receptive fields.",
    ),
    "compare": ("inceptions.cli.compare:compare", "Compare networks side by side, or two checkpoints of one network."),
    "study": (
        "inceptions.cli.study:study",
        "Repeat a paper's ablation on your images: several seeds, curves with intervals, significance.",
    ),
    "explain": (
        "inceptions.cli.explain:explain",
        "Show which pixels contributed to a prediction: Grad-CAM, integrated gradients or occlusion.",
    ),
    "report": ("inceptions.cli.report:report", "Write a finished run's report.html: one self-contained file."),
    "doctor": ("inceptions.cli.doctor:doctor", "Show what this machine offers and what is missing or broken."),
}
"""verb (one word or two) -> ("module:function", the first line of the function's docstring)."""

_ABOUT = "The GoogLeNet family of image classifiers, from Inception v1 to Xception."
_EVERYWHERE = """Everywhere:
  -h, --help     show the options of a command
  -v, --verbose  log more to stderr
  --debug        show the traceback of an error (also: INCEPTIONS_DEBUG=1)
  --version      print the version
  --max-megapixels N
                 decode images of up to N million pixels (also: INCEPTIONS_MAX_MEGAPIXELS=N); default: 128"""
_LIMIT = "INCEPTIONS_MAX_MEGAPIXELS"  # as in `inceptions.image`, which is not imported for a page of help


class UsageError(ValueError):
    """The command line cannot be understood. Exit code 2, as for any `ValueError` that is not one of `errors`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (`sys.argv` by default) and returns its exit code; nothing but a signal raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = _take(words, "--debug") or os.environ.get("INCEPTIONS_DEBUG", "") not in ("", "0")
    verbose = _take(words, "-v", "--verbose") or debug
    limit = os.environ.get(_LIMIT)
    for stream in (sys.stdout, sys.stderr):  # a file name need not be valid text
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        with _terminated_by_exit():
            _take_limit(words)
            code = _dispatch(words, verbose=verbose)
            sys.stdout.flush()  # here, where a closed pipe is still ours to take
            return code
    except BrokenPipeError:
        # The reader (`| head`) has left. Python flushes stdout once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exception(error)
        else:
            from inceptions.cli.terminal import plain

            # names out of a file must not be able to command the terminal
            print("\n".join(plain(line) for line in f"error: {_message(error)}".split("\n")), file=sys.stderr)
        return _exit_code(error)
    finally:
        if limit is None:
            os.environ.pop(_LIMIT, None)
        else:
            os.environ[_LIMIT] = limit


def _take_limit(words: list[str]) -> None:
    """Removes `--max-megapixels N` from `words` and sets the variable, which worker processes inherit."""
    end = words.index("--") if "--" in words else len(words)
    for i in reversed(range(end)):
        flag, equals, value = words[i].partition("=")
        if flag == "--max-megapixels":
            from inceptions.image import megapixels

            value = value if equals else "".join(words[i + 1 : min(i + 2, end)])
            del words[i : i + 1 if equals else min(i + 2, end)]
            megapixels(value, flag)
            os.environ[_LIMIT] = value


def _dispatch(words: list[str], *, verbose: bool) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(VERBS), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        from inceptions import __version__

        print(f"inceptions {__version__}")
        return 0
    for length in (2, 1):
        verb = " ".join(words[:length])
        if verb in VERBS:
            return _run(verb, words[length:], verbose=verbose)
    family = {verb: entry for verb, entry in VERBS.items() if verb.split()[0] == words[0]}
    if family and words[1:2] in ([], ["-h"], ["--help"]):
        print(_overview(family), file=sys.stdout if words[1:] else sys.stderr)
        return 0 if words[1:] else 2
    raise _unknown(words, family)


def _run(verb: str, words: list[str], *, verbose: bool) -> int:
    from cyclopts import App, CycloptsError

    from inceptions.cli.terminal import configure_log

    configure_log(verbose=verbose)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # its remarks on files would break a page or a bar
    app = App(
        name=f"inceptions {verb}",
        version_flags=[],
        help_format="markdown",
        help_epilogue="Everywhere: `--max-megapixels N`, `--verbose`, `--debug`; see `inceptions --help`.",
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    app["--help"].show = False
    app.default(_function(verb))
    try:
        command, arguments, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError) as error:  # ValueError: a config that refuses its values
        raise UsageError(f"{error}\n`inceptions {verb} --help` shows the options") from error
    result = command(*arguments.args, **arguments.kwargs)
    return result if isinstance(result, int) else 0


def _function(verb: str) -> Callable[..., object]:
    module, _, name = VERBS[verb][0].partition(":")
    function: Callable[..., object] = getattr(import_module(module), name)
    return function


def _overview(verbs: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, verbs))
    lines = [f"  {verb:{width}}  {line}" for verb, (_, line) in verbs.items()]
    return "\n".join(["Usage: inceptions COMMAND [OPTIONS]", "", _ABOUT, "", "Commands:", *lines, "", _EVERYWHERE])


def _unknown(words: list[str], family: dict[str, tuple[str, str]]) -> UsageError:
    from difflib import get_close_matches

    asked = " ".join(words[: 2 if family else 1])
    near = get_close_matches(asked, VERBS, n=1)
    hint = f"did you mean `inceptions {near[0]}`?" if near else f"there are: {', '.join(family or VERBS)}"
    return UsageError(f"no command {asked!r}; {hint}")


def _take(words: list[str], *flags: str) -> bool:
    """Removes `flags` from `words` (up to a `--`) and says whether one was there."""
    end = words.index("--") if "--" in words else len(words)
    found = [i for i in range(end) if words[i] in flags]
    for i in reversed(found):
        del words[i]
    return bool(found)


@contextmanager
def _terminated_by_exit() -> Iterator[None]:
    """Turns SIGTERM into `SystemExit(143)`, so that files are closed and workers ended on the way out."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: C code had set it


def _message(error: Exception) -> str:
    match error:
        case OSError(strerror=str(reason), filename=str(file)):
            return f"{file}: {reason}"
        case ModuleNotFoundError(name=str(module)) if not module.startswith("inceptions"):
            return f"the package {module!r} is not installed; pip install 'inceptions[all]' brings the optional ones"
        case ValueError() | OSError():
            return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}\nthis should not happen; --debug shows where it did"


def _exit_code(error: Exception) -> int:
    match error:
        case RunError():
            return 1
        case DataError():
            return 3
        case GateError():
            return 4
        case ValueError():
            return 2
    return 1
