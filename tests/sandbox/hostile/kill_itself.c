// expect: runtime_error
#include <signal.h>
#include <stdio.h>
int main(void) {
    puts("contained");
    fflush(stdout);
    raise(SIGKILL);
}
