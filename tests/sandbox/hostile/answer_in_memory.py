# expect: wrong_answer
# output: nonce
# Looks for the expected output wherever Python and the kernel show memory and files.
import gc
import os
import re
import sys

pattern = re.compile(rb"[0-9a-f]{32}")
actual = set()
for thing in gc.get_objects():
    if isinstance(thing, dict | list | tuple):
        actual.update(pattern.findall(repr(thing)[:10000].encode("utf-8", "replace")))
frame = sys._getframe()
while frame:
    actual.update(pattern.findall(repr(frame.f_locals).encode("utf-8", "replace")))
    frame = frame.f_back
for folder, _, names in os.walk("/proc/self"):
    for name in names[:50]:
        try:
            actual.update(pattern.findall(open(os.path.join(folder, name), "rb").read(1000)))
        except (OSError, ValueError):
            pass
    if len(folder) > 40:
        break
for folder in ("/tmp", "/dev/shm", "/program", "/guest"):
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                actual.update(pattern.findall(open(os.path.join(path, name), "rb").read()))
            except OSError:
                pass
print(*actual)
