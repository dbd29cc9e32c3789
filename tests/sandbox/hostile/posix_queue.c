// expect: accepted
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
int main(void) {
    puts(mq_open("/queue", O_CREAT | O_RDWR, 0666, 0) == (mqd_t)-1 ? "contained" : "escaped");
}
