// expect: memory_limit_exceeded
#include <stdlib.h>
#include <string.h>
int main(void) {
    char *volatile block = malloc(1l << 31);
    memset(block, 1, 1l << 31);
    return block[12345] != 1;
}
