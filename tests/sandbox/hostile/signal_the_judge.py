# expect: accepted
import os
import signal

for number in set(range(1, 65)) - {32, 33}:
    for target in (1, os.getppid()):
        try:
            os.kill(target, number)
        except OSError:
            pass
print("contained")
