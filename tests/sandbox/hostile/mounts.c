// expect: accepted

#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    int escaped = mount("none", "/tmp", "tmpfs", 0, 0) == 0;
    escaped += mount("/", "/tmp", 0, MS_BIND, 0) == 0;
    escaped += mount(0, "/", 0, MS_REMOUNT, 0) == 0;
    escaped += umount2("/tmp", MNT_DETACH) == 0;
    escaped += chroot("/tmp") == 0;
    escaped += syscall(SYS_pivot_root, "/tmp", "/tmp") == 0;
    escaped += syscall(430, "tmpfs", 0) >= 0;  // fsopen
    escaped += syscall(428, -100, "/", 1) >= 0;  // open_tree
    puts(escaped ? "escaped" : "contained");
}
