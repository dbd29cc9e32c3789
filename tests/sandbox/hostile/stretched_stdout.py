# expect: output_limit_exceeded
import os

os.ftruncate(1, 1 << 40)
