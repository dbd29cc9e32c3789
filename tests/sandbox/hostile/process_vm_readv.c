// expect: accepted

#include <errno.h>
#include <stdio.h>
#include <sys/uio.h>
int main(void) {
    char buffer[8];
    struct iovec local = {buffer, 8}, remote = {(void *)0x400000, 8};
    ssize_t got = process_vm_readv(1, &local, 1, &remote, 1, 0);
    puts(got < 0 && errno == EPERM ? "contained" : "escaped");
}
