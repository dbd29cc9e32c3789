import os


def f(x):
    data = b"[" * 1_000_000
    os.write(4, len(data).to_bytes(8, "little") + data)
    os._exit(0)
