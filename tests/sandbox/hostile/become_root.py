# expect: accepted
import os

escaped = []
for name, arguments in (
    ("setuid", (0,)),
    ("setgid", (0,)),
    ("setgroups", ([0],)),
    ("setresuid", (0, 0, 0)),
    ("setreuid", (0, 0)),
):
    try:
        getattr(os, name)(*arguments)
        escaped.append(name)
    except OSError:
        pass
with open("/proc/self/status") as file:
    status = {line.partition(":")[0]: line.partition(":")[2].strip() for line in file}
capabilities = (
    int(status["CapEff"], 16)
    | int(status["CapPrm"], 16)
    | int(status["CapInh"], 16)
    | int(status["CapAmb"], 16)
)
if capabilities or status["NoNewPrivs"] != "1" or status["Seccomp"] != "2" or os.geteuid() == 0:
    escaped.append("privileges")
print("escaped" if escaped else "contained", *escaped)
