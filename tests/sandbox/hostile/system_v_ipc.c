// expect: accepted
// Segments, queues and semaphores outlive the process that made them.
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
int main(void) {
    int escaped = shmget(42, 4096, IPC_CREAT | 0666) >= 0;
    escaped += msgget(42, IPC_CREAT | 0666) >= 0;
    escaped += semget(42, 1, IPC_CREAT | 0666) >= 0;
    puts(escaped ? "escaped" : "contained");
}
