# expect: accepted
x = (1,) * 100000000 if 0 else "a" * 1000000 if 0 else 1
