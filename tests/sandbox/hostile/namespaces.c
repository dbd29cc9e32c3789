// expect: accepted

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
    int escaped = 0;
    for (int i = 0; i < 7; i++) {
        escaped += unshare(flags[i]) == 0;
        long pid = syscall(SYS_clone, flags[i] | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) _exit(0);
        escaped += pid > 0;
    }
    puts(escaped ? "escaped" : "contained");
}
