# expect: time_limit_exceeded memory_limit_exceeded
import os

while True:
    try:
        os.fork()
    except OSError:
        pass
