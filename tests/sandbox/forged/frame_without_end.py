import os


def f(x):
    os.write(4, (1 << 62).to_bytes(8, "little") + b"x" * 1000)
    os._exit(0)
