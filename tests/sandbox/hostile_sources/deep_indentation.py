# expect: compile_error
# generated: "".join(" " * i + "if 1:\n" for i in range(300)) + " " * 300 + "pass"
