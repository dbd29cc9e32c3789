// expect: accepted
// Affinity is allowed on itself and must not reach the next test; stepping back behind others is refused.

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
int main(void) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    struct sched_param parameter = {0};
    int escaped = sched_setscheduler(0, SCHED_IDLE, &parameter) == 0;
    escaped += setpriority(PRIO_PROCESS, 0, 19) == 0;
    FILE *autogroup = fopen("/proc/self/autogroup", "w");
    escaped += autogroup != NULL;
    puts(escaped ? "escaped" : "contained");
}
