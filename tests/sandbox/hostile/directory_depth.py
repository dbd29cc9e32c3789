# expect: time_limit_exceeded memory_limit_exceeded runtime_error
import os

while True:
    os.mkdir("deeper")
    os.chdir("deeper")
