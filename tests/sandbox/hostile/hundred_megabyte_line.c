// expect: output_limit_exceeded
#include <stdio.h>
int main(void) {
    for (long i = 0; i < 100l << 20; i++) putchar('x');
}
