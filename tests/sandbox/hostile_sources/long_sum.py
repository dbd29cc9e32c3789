# expect: accepted compile_error
# generated: "1" + "+1" * 50000
