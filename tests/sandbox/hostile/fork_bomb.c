// expect: time_limit_exceeded memory_limit_exceeded
// The kernel frees what refused forks had taken only later, and charges it to the program until then.
#include <unistd.h>
int main(void) {
    for (;;) fork();
}
