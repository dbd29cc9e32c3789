# expect: accepted
import os

try:
    for _ in range(100_000):
        os.dup(0)
    print("escaped")
except OSError:
    print("contained")
