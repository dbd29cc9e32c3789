# expect: accepted
import os

escaped = []
paths = """/etc/shadow /etc/passwd /etc/hostname /home /var /root/.ssh /boot /sys /mnt /opt
/proc/kcore /proc/kmsg /dev/mem /dev/sda /dev/vda /dev/kmsg /run /srv /usr/bin/sudo"""
for path in paths.split():
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
        escaped.append(path)
    except OSError:
        pass
print("escaped" if escaped else "contained", *escaped)
