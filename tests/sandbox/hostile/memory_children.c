// expect: memory_limit_exceeded
// Each child stays below the limit; together they don't.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    for (int i = 0; i < 10; i++)
        if (fork() == 0) {
            char *block = malloc(40 << 20);
            memset(block, i + 1, 40 << 20);
            pause();
        }
    pause();
}
