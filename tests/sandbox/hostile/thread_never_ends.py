# expect: time_limit_exceeded
import threading
import time

threading.Thread(target=time.sleep, args=(1000,)).start()
print("contained")
