# expect: accepted
import os

others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]
print("escaped" if others else "contained", *others)
