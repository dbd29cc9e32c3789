// expect: time_limit_exceeded
#include <unistd.h>
int main(void) {
    for (;;) fork();
}
