// expect: accepted
// 64 MB of stack, half the limit, must do.
#include <stdio.h>
static int depth(int n) {
    volatile char frame[64];
    frame[0] = 1;
    return n == 0 ? 0 : depth(n - 1) + frame[0];
}
int main(void) {
    puts(depth(500000) == 500000 ? "contained" : "wrong");
}
