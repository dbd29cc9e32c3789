# expect: output_limit_exceeded
import sys

while True:
    sys.stdout.write("x" * 65536)
