# expect: accepted
# A module planted in the scratch folder must not be what the next test imports.
open("/tmp/math.py", "w").write("raise SystemExit('planted')")
open("/tmp/sitecustomize.py", "w").write("raise SystemExit('planted')")
print("contained")
