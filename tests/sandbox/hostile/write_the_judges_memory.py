# expect: accepted
import os

escaped = []
for name in (
    "mem",
    "oom_score_adj",
    "timerslack_ns",
    "autogroup",
    "coredump_filter",
    "clear_refs",
    "comm",
    "attr/exec",
):
    try:
        descriptor = os.open(f"/proc/1/{name}", os.O_WRONLY)
        if os.write(descriptor, b"1") > 0:
            escaped.append(name)
    except OSError:
        pass
print("escaped" if escaped else "contained", *escaped)
