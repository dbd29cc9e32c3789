# expect: memory_limit_exceeded
blocks = []
while True:
    blocks.append(bytearray(1 << 20))
