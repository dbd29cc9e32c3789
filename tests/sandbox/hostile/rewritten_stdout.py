# expect: accepted
# The final contents count, as with a file.
import os

os.write(1, b"something wrong, and long")
os.ftruncate(1, 0)
os.lseek(1, 0, os.SEEK_SET)
os.write(1, b"contained\n")
