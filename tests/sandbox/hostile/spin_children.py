# expect: time_limit_exceeded
# Each child stays below the limit; together they don't.
import os
import time

for _ in range(12):
    if os.fork() == 0:
        while time.process_time() < 0.4:
            pass
        os._exit(0)
for _ in range(12):
    os.wait()
print("contained")
