# expect: accepted runtime_error memory_limit_exceeded
# The scratch folder is memory too: it must fill up before it matters.
block = bytes(1 << 20)
try:
    for number in range(2000):
        with open(f"/tmp/{number}", "wb") as file:
            file.write(block)
    print("escaped")
except OSError:
    print("contained")
