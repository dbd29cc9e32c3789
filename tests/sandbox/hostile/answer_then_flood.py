# expect: output_limit_exceeded
import os

os.write(1, b"contained\n")
while True:
    os.write(1, b" " * 65536)
