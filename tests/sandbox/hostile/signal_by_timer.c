// expect: runtime_error
#include <sys/time.h>
#include <unistd.h>
int main(void) {
    struct itimerval soon = {{0, 0}, {0, 1000}};
    setitimer(ITIMER_REAL, &soon, 0);
    for (;;) pause();
}
