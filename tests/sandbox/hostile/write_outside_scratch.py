# expect: accepted
import os

escaped = []
for folder in (
    "/",
    "/dev",
    "/usr",
    "/usr/lib",
    "/guest",
    "/proc",
    "/proc/self",
    "/etc",
    os.path.dirname(os.__file__),
):
    try:
        open(f"{folder}/planted", "w").close()
        escaped.append(folder)
    except OSError:
        pass
print("escaped" if escaped else "contained", *escaped)
