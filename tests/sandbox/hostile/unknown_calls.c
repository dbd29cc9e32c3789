// expect: accepted

#include <errno.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    int escaped = 0;
    for (int call = 463; call < 600; call++) escaped += !(syscall(call, 0, 0, 0, 0, 0, 0) == -1 && errno == ENOSYS);
    puts(escaped ? "escaped" : "contained");
}
