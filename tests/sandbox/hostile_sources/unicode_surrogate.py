# expect: compile_error
# generated: "x = '\ud800'"
