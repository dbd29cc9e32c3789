def f(x):
    global f
    f = lambda *a: True
    return 99
