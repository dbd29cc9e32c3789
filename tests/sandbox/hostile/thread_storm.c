// expect: accepted
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *wait_forever(void *_) {
    pause();
    return 0;
}
int main(void) {
    pthread_t thread;
    int started = 0;
    while (started < 100000 && pthread_create(&thread, 0, wait_forever, 0) == 0) started++;
    puts(started < 100 ? "contained" : "escaped");
}
