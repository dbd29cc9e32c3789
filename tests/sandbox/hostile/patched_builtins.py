# expect: accepted
import builtins
import os
import sys

os._exit = lambda status: None
builtins.print = lambda *words: sys.__stdout__.write("patched\n")
sys.modules["math"] = None
sys.exit = lambda status=0: None
sys.__stdout__.write("contained\n")
