# expect: accepted
import atexit
import sys

atexit.register(print, "contained")
sys.exit(0)
