// expect: compile_error
__asm__(".data\n.fill 0x40000000, 8, 0x41");
int main(void) {}
