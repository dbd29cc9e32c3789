# expect: accepted
import os

for folder in ("/tmp", "/dev/shm"):
    with open(f"{folder}/left", "w") as file:
        file.write("for the next test")
    os.makedirs(f"{folder}/.hidden/deeper")
print("contained")
