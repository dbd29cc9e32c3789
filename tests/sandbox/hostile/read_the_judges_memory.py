# expect: accepted
import os

escaped = []
for name in (
    "mem",
    "environ",
    "maps",
    "auxv",
    "stack",
    "syscall",
    "io",
    "fd",
    "map_files",
    "cwd/x",
    "root/x",
    "fdinfo",
):
    path = f"/proc/1/{name}"
    try:
        if name in ("fd", "map_files", "fdinfo"):
            os.listdir(path)
        else:
            open(path, "rb").read(1)
        escaped.append(name)
    except OSError:
        pass
print("escaped" if escaped else "contained", *escaped)
