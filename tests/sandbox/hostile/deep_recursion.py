# expect: accepted
import sys

sys.setrecursionlimit(10**6)


def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)


print("contained" if depth(100_000) == 100_000 else "wrong")
