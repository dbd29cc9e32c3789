# expect: runtime_error
# There is no shell behind the wall.
import subprocess

subprocess.run(["/bin/sh", "-c", "cat /etc/shadow"], check=True)
