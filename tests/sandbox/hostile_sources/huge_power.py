# expect: time_limit_exceeded memory_limit_exceeded
x = 9**9**9
