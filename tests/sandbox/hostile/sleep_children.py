# expect: time_limit_exceeded
import os
import time

for _ in range(20):
    if os.fork() == 0:
        time.sleep(1000)
time.sleep(1000)
