// expect: time_limit_exceeded
#include <pthread.h>
static void *spin(void *_) {
    for (volatile unsigned i = 0;; i++);
}
int main(void) {
    pthread_t thread;
    for (int i = 0; i < 8; i++) pthread_create(&thread, 0, spin, 0);
    pthread_join(thread, 0);
}
