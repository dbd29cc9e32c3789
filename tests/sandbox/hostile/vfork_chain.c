// expect: time_limit_exceeded runtime_error

#include <unistd.h>
int main(void) {
    for (;;) vfork();
}
