// expect: accepted
// Memory no process is charged for.

#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    puts(memfd_create("hoard", 0) < 0 ? "contained" : "escaped");
}
