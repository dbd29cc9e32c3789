# expect: accepted
# The next test could read what this one wrote.
import os

escaped = False
for path in (0, "/proc/self/fd/0", "/dev/stdin"):
    try:
        descriptor = path if path == 0 else os.open(path, os.O_RDWR)
        os.write(descriptor, b"999\n")
        escaped = True
    except OSError:
        pass
    try:
        os.ftruncate(0, 0)
        escaped = True
    except OSError:
        pass
print("escaped" if escaped else "contained")
