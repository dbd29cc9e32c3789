// expect: accepted
// Allowed on itself; must not reach the next test.

#include <sched.h>
#include <stdio.h>
int main(void) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    struct sched_param parameter = {0};
    sched_setscheduler(0, SCHED_IDLE, &parameter);
    puts("contained");
}
