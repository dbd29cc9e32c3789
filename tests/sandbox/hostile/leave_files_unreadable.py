# expect: accepted
import os

os.mkdir("/tmp/closed")
open("/tmp/closed/file", "w").close()
os.chmod("/tmp/closed", 0)
try:
    os.chmod("/tmp", 0)
except OSError:
    pass
print("contained")
