// expect: compile_error
#include "/usr"
int main(void) {}
