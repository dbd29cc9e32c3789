// expect: accepted
#include <stdio.h>
#include <sys/ptrace.h>
#include <unistd.h>
int main(void) {
    int escaped = ptrace(PTRACE_ATTACH, 1, 0, 0) == 0 || ptrace(PTRACE_SEIZE, getppid(), 0, 0) == 0;
    escaped += ptrace(PTRACE_TRACEME, 0, 0, 0) == 0;
    puts(escaped ? "escaped" : "contained");
}
