# expect: accepted
import os

known = {"PATH", "HOME", "LANG", "LC_ALL", "PWD", "PYTHONHASHSEED"}
with open("/proc/self/environ", "rb") as file:
    raw = {entry.split(b"=")[0].decode() for entry in file.read().split(b"\0") if entry}
found = (set(os.environ) | raw) - known
print("escaped" if found else "contained", *found)
