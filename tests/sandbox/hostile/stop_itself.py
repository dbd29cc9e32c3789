# expect: time_limit_exceeded
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)
