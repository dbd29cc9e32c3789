# expect: accepted
import sys
import threading

sys.setrecursionlimit(10**6)
threading.stack_size(64 << 20)


def solve():
    print("contained")


thread = threading.Thread(target=solve)
thread.start()
thread.join()
