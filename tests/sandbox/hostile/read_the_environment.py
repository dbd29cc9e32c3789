# expect: accepted
import os

known = {"PATH", "HOME", "LANG", "LC_ALL", "PWD", "PYTHONHASHSEED"}
with open("/proc/self/environ", "rb") as file:
    raw = {entry.split(b"=")[0].decode() for entry in file.read().split(b"\0") if entry}
started_with = {"LD_BIND_NOW"}  # of the resident loop, which has taken it away
actual = (set(os.environ) | raw - started_with) - known
print("escaped" if actual else "contained", *actual)
