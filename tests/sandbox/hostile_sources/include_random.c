// expect: compile_error
// slow
#include "/dev/urandom"
int main(void) {}
