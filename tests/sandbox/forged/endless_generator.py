def f(x):
    while True:
        yield x + 1
