# expect: time_limit_exceeded memory_limit_exceeded runtime_error
number = 0
while True:
    open(f"/tmp/{number}", "w").close()
    number += 1
