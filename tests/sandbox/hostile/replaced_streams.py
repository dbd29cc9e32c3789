# expect: accepted
import io
import sys

buffer = io.StringIO()
sys.stdout = buffer
print("contained")
sys.__stdout__.write(buffer.getvalue())
