# expect: accepted
import os

escaped = []
for path in (
    "kernel/core_pattern",
    "kernel/hostname",
    "vm/overcommit_memory",
    "kernel/pid_max",
    "fs/file-max",
    "net/ipv4/ip_forward",
):
    try:
        descriptor = os.open(f"/proc/sys/{path}", os.O_WRONLY)
        os.write(descriptor, b"1")
        escaped.append(path)
    except OSError:
        pass
for path in ("/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/sys/fs/cgroup/cgroup.procs"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        escaped.append(path)
    except OSError:
        pass
print("escaped" if escaped else "contained", *escaped)
