// expect: compile_error
#pragma GCC diagnostic error "-Wall"
int main(void) { undefined_function(); }
