"""Makes this Python look like Windows to our modules, and to ours alone: libraries have their own branches for that.

Python imports this file at its start in every process that has its folder on PYTHONPATH, our workers included. What
Windows has not is missing: modules cannot be imported, names of `os` and `signal` are not there, a child process
inherits no descriptors, a folder cannot be opened.
"""

from __future__ import annotations

import builtins
import subprocess
from types import ModuleType
from typing import Any

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty"}
NAMES = {
    "os": {"memfd_create", "register_at_fork", "fork", "sched_getaffinity", "sysconf", "sysconf_names", "getuid"}
    | {"geteuid", "killpg", "setsid", "nice", "mkfifo", "statvfs", "O_DIRECTORY", "O_NOFOLLOW", "symlink"},
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "alarm", "setitimer", "pthread_sigmask"},
    "mmap": {"MADV_REMOVE", "MADV_DONTNEED"},
}


class Without(ModuleType):
    """A module without some of its names."""

    def __init__(self, real: ModuleType, missing: set[str]) -> None:
        super().__init__(real.__name__)
        self.__dict__["_real"], self.__dict__["_missing"] = real, missing

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(f"module {self._real.__name__!r} has no attribute {name!r} (hidden by the test)")
        if self._real.__name__ == "os" and name == "open":
            return _open
        return getattr(self._real, name)


def _open(path: Any, *arguments: Any, **named: Any) -> int:
    import os

    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, *arguments, **named)


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """Refuses what Windows cannot do; from anywhere, since `subprocess.run` calls it too."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        assert not named.get("pass_fds"), "pass_fds is not supported on Windows"
        assert named.get("preexec_fn") is None, "preexec_fn is not supported on Windows"
        super().__init__(*arguments, **named)


subprocess.Popen = Popen  # type: ignore[misc]
_import = builtins.__import__


def _import_without(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> ModuleType:
    module = _import(name, globals, locals, fromlist, level)
    asking = (globals or {}).get("__name__", "")
    file = (globals or {}).get("__file__") or ""
    if asking.partition(".")[0] != "inceptions" and "inceptions" not in file:
        return module
    if name in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r} (hidden by the test)", name=name)
    if name in NAMES:
        return Without(module, NAMES[name])
    return module


builtins.__import__ = _import_without
