"""Ctrl-C ends a command though a library swallows the first one."""

import signal
import subprocess
import sys

SWALLOWS = """
import time
from flows.runtime import interrupts
interrupts.REPEAT_AFTER_S = 2
interrupts.repeat_interrupts()
try:
    print("ready", flush=True)
    time.sleep(600)
except:
    print("swallowed", flush=True)
time.sleep(600)
"""


def test_an_interrupt_that_was_swallowed_comes_again():
    with subprocess.Popen(
        [sys.executable, "-c", SWALLOWS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert output == "swallowed\n"
    assert errors.strip().endswith("KeyboardInterrupt") and process.returncode == -signal.SIGINT
