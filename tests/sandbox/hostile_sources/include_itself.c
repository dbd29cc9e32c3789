// expect: compile_error
#include "main.c"
int main(void) {}
