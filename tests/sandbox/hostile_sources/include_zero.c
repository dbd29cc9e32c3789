// expect: compile_error
// slow
#include "/dev/zero"
int main(void) {}
