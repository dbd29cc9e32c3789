# expect: accepted
# Judges that read a pipe to its end wait for this child.
import os
import time

if os.fork() == 0:
    time.sleep(1000)
print("contained")
