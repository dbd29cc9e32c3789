# expect: time_limit_exceeded
import time

time.sleep(1000)
