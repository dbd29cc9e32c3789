// expect: runtime_error memory_limit_exceeded
static int deeper(volatile int *n) {
    volatile int here[64] = {*n + 1};
    return deeper((volatile int *)here) + here[5];
}
int main(void) {
    volatile int zero = 0;
    return deeper(&zero);
}
