# expect: compile_error
# generated: "print(1)\0\nprint(2)"
