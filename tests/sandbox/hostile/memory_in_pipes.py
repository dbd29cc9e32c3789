# expect: accepted runtime_error
import os

held = 0
try:
    while True:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                held += os.write(writer, bytes(1 << 16))
        except BlockingIOError:
            pass
except OSError:
    pass
print("contained" if held < 64 << 20 else "escaped")
