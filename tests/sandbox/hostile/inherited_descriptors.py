# expect: accepted
# Nothing but standard input, output and error; on what there may be, a forged verdict.
import os

escaped = []
for number in range(3, 1024):
    try:
        os.write(number, b"\0" * 40)
        escaped.append(number)
    except OSError:
        pass
print("escaped" if escaped else "contained", *escaped)
