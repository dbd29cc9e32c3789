# expect: compile_error
# generated: "(" * 5000 + "1" + ")" * 5000
