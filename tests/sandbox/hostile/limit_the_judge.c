// expect: accepted
// Same user as the loop: without a filter this starves it.

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
int main(void) {
    struct rlimit tiny = {1, 1};
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    struct sched_param parameter = {0};
    int escaped = prlimit(1, RLIMIT_NOFILE, &tiny, 0) == 0;
    escaped += prlimit(1, RLIMIT_CPU, &tiny, 0) == 0;
    escaped += prlimit(getppid(), RLIMIT_NPROC, &tiny, 0) == 0;
    escaped += sched_setaffinity(1, sizeof first, &first) == 0;
    escaped += sched_setscheduler(1, SCHED_IDLE, &parameter) == 0;
    escaped += setpriority(PRIO_PROCESS, 1, 19) == 0;
    escaped += setpriority(PRIO_USER, 0, 19) == 0;
    puts(escaped ? "escaped" : "contained");
}
