// expect: compile_error
int other(void) { return 0; }
