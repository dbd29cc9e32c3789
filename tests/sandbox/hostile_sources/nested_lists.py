# expect: compile_error
# generated: "[" * 200000
