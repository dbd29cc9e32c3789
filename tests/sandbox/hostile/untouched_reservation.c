// expect: accepted

#include <stdio.h>
#include <sys/mman.h>
static char table[1l << 31];
int main(void) {
    char *reserved = mmap(0, 1l << 36, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) return 1;
    reserved[1l << 35] = 1;
    table[1l << 30] = 1;
    puts("contained");
}
