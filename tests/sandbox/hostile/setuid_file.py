# expect: accepted
import os
import sys

program = "/tmp/program"
with open(sys.executable, "rb") as source, open(program, "wb") as target:
    target.write(source.read(100_000))
try:
    os.chmod(program, 0o6755)
except OSError:
    pass
print("contained" if os.getuid() == os.geteuid() != 0 else "escaped")
