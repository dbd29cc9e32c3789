// expect: accepted
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int main(void) {
    void *block = malloc(32 << 20);
    puts(mlock(block, 32 << 20) ? "contained" : "escaped");
}
