// expect: accepted
// Pairs of local sockets are how event loops wake themselves; any other family is not.
#include <stdio.h>
#include <sys/socket.h>
int main(void) {
    int pair[2];
    int local = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    int tipc = socketpair(30, SOCK_STREAM, 0, pair);
    puts(local == 0 && tipc < 0 ? "contained" : "escaped");
}
