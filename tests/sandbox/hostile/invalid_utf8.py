# expect: wrong_answer
import os

os.write(1, b"\xff\xfe\x00\xc3contained\n")
