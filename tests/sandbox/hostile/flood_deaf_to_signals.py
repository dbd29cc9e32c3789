# expect: output_limit_exceeded
import os
import signal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    while True:
        os.write(1, b"contained\n" * 1000)
except OSError:
    pass
