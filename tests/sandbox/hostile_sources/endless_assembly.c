// expect: compile_error
// slow
__asm__(".rept 1000000000\nnop\n.endr");
int main(void) {}
