// expect: accepted
// Every parent exits: the process id changes faster than anybody can kill by number.
#include <stdio.h>
#include <unistd.h>
int main(void) {
    puts("contained");
    fflush(stdout);
    for (;;)
        if (fork() > 0) _exit(0);
}
