// expect: time_limit_exceeded
// Children too short to be seen, whose CPU time the kernel forgets, so that somebody always runs and nobody has used anything.

#include <signal.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        if (fork() == 0) {
            while (clock() < CLOCKS_PER_SEC / 250);
            _exit(0);
        }
        usleep(4000);
    }
}
