def check(candidate):
    pass


def f(x):
    return 99
