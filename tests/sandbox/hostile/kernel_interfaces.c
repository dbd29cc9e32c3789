// expect: accepted

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    // io_uring_setup, bpf, userfaultfd, perf_event_open, add_key, request_key, keyctl, pidfd_getfd, kcmp,
    // open_by_handle_at, fanotify_init, init_module, kexec_load, swapon, reboot, syslog, acct, iopl, modify_ldt
    int calls[] = {425, 321, 323, 298, 248, 249, 250, 438, 312, 304, 300, 175, 246, 167, 169, 103, 163, 172, 154};
    int escaped = 0;
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        escaped += !(syscall(calls[i], 0, 0, 0, 0, 0, 0) == -1 && errno == EPERM);
    puts(escaped ? "escaped" : "contained");
}
