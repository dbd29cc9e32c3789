# expect: runtime_error
import os
import sys

os.close(1)
print("contained")
sys.stdout.flush()
