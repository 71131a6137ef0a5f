"""A signal during or after OpenVINO's work is handled, not fatal."""

from __future__ import annotations

import subprocess
import sys

# With faulthandler on, Python runs its handlers on a stack of their own, which OpenVINO swaps for another.
SCRIPT = """
import gc, os, signal, torch
from inceptions import create_model
from inceptions.engines import open_engine

class Handled(Exception): pass

def handle(number, frame): raise Handled

signal.signal(signal.SIGTERM, handle)
net = create_model("googlenet", weights="none", width=0.1, depth=0.1, num_classes=3).eval()
images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
engines = []
for precision in ("float32", "int8", "float32"):
    calibration = [images] if precision == "int8" else None
    engines.append(open_engine(net, engine="openvino", precision=precision, calibration=calibration))
    engines[-1](images)
while engines:
    engines.pop(0)  # the oldest first
    gc.collect()
try:
    os.kill(os.getpid(), signal.SIGTERM)
except Handled:
    print("handled")
"""


def test_a_signal_after_engines_came_and_went_is_handled() -> None:
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
