# expect: accepted
# A daemon that wants to spoil what comes after the answer, and the next test.
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(200):
            time.sleep(0.05)
            os.write(1, b"spoiled")
            open(f"/tmp/spoiled{number}", "w").close()
    os._exit(0)
print("contained")
