// expect: runtime_error
#include <unistd.h>
#include <sys/syscall.h>
int main(void) {
    syscall(0x40000000 | 39);
    return 0;
}
