# expect: time_limit_exceeded
import atexit
import time

atexit.register(time.sleep, 1000)
print("contained")
