/* What all processes of a program have used so far, sampled from /proc.
 *
 * The same rules as in usage.py, which gives the reasons: only time asleep counts against the wall limit,
 * and processes that start and exit between two samples excuse nothing.
 */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PID_LIMIT = 1 << 22, TEXT_BYTES = 4096, PAGE_KB = 4 };

struct usage {
    double cpu_s, slept_s, wall_s;
    long peak_kb, newest_pid;
    double seen_cpu_s; /* of each process ever seen, added up */
    double started_s;
};

/* CPU time of each process ever seen, by its id. Untouched pages cost nothing. */
static double cpu_s_of[PID_LIMIT] __attribute__((aligned(4096)));

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double larger(double a, double b) { return a > b ? a : b; }

/* The text of a small file; false where it does not exist any more. */
static bool read_text(const char *path, char text[TEXT_BYTES]) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t size = read(file, text, TEXT_BYTES - 1);
    close(file);
    text[size > 0 ? size : 0] = 0;
    return size > 0;
}

/* The process id that the namespace assigned last. */
static long newest_pid(long otherwise) {
    char text[TEXT_BYTES];
    const char *last = read_text("/proc/loadavg", text) ? strrchr(text, ' ') : NULL;
    return last ? atol(last) : otherwise;
}

struct status {
    char state;
    double ticks, children_ticks;
    long threads, pages;
};

/* The fields of /proc/PID/stat behind the name, which may hold anything. */
static bool read_status(const char *path, struct status *status) {
    char text[TEXT_BYTES];
    const char *rest = read_text(path, text) ? strrchr(text, ')') : NULL;
    unsigned long user, system;
    long children_user, children_system;
    static const char *const fields =
        " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld %*d %*d %ld %*d %*u %*u %ld";
    if (!rest || sscanf(rest + 1, fields,
                        &status->state, &user, &system, &children_user, &children_system, &status->threads,
                        &status->pages) != 7)
        return false;
    status->ticks = (double)(user + system);
    status->children_ticks = (double)(children_user + children_system);
    return true;
}

/* Whether a thread runs or waits for a processor. A process that has just exited was not asleep. */
static bool has_runnable_thread(long pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    if (!threads) return true;
    bool runnable = false;
    for (struct dirent *entry; !runnable && (entry = readdir(threads));) {
        struct status status;
        char name[352];
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        snprintf(name, sizeof name, "/proc/%ld/task/%s/stat", pid, entry->d_name);
        runnable = !read_status(name, &status) || status.state == 'R';
    }
    closedir(threads);
    return runnable;
}

#include "memory.h"

/* The process's CPU clock; `otherwise_s` where it has just exited. */
static double precise_cpu_s(long pid, double otherwise_s) {
    struct timespec used;
    if (clock_gettime((clockid_t)((~(unsigned)pid << 3) | 2), &used) != 0) return otherwise_s;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void usage_start(struct usage *usage, long main_pid) {
    *usage = (struct usage){.newest_pid = main_pid, .started_s = now_s()};
}

/* Forget the processes seen, if there was a sample at all. */
static void usage_end(const struct usage *usage) {
    if (usage->wall_s > 0) madvise(cpu_s_of, sizeof cpu_s_of, MADV_DONTNEED);
}

/* Sample every process but this one, the first of its namespace. */
static void usage_look(struct usage *usage, long memory_limit_kb) {
    const double ticks_per_s = (double)sysconf(_SC_CLK_TCK);
    double cpu_before_s = usage->cpu_s, wall_before_s = usage->wall_s, cpu_s = 0;
    long newest_before = usage->newest_pid, memory_kb = 0, fair_kb = 0, processes = 0, new = 0;
    bool runnable = false, crowded = false;
    usage->newest_pid = newest_pid(newest_before);
    DIR *all = opendir("/proc");
    for (int round = 0; all && round < 2; round++, rewinddir(all)) {
        if (round == 1 && !(crowded = processes > 1 && memory_kb > memory_limit_kb)) break;
        for (struct dirent *entry; (entry = readdir(all));) {
            long pid = atol(entry->d_name);
            struct status status;
            char path[64];
            if (pid <= 1 || pid >= PID_LIMIT) continue;
            snprintf(path, sizeof path, "/proc/%ld/stat", pid);
            if (!read_status(path, &status)) continue;
            if (!status.pages && status.threads > 1) status.pages = pages_of_threads(pid);
            if (round == 1) {
                fair_kb += proportional_kb(pid, status.pages * PAGE_KB);
                continue;
            }
            processes++;
            new += newest_before < pid && pid <= usage->newest_pid;
            double own_s = precise_cpu_s(pid, status.ticks / ticks_per_s);
            usage->seen_cpu_s += larger(0, own_s - cpu_s_of[pid]);
            cpu_s_of[pid] = larger(own_s, cpu_s_of[pid]);
            cpu_s += own_s + status.children_ticks / ticks_per_s;
            memory_kb += status.pages * PAGE_KB;
            runnable = runnable || status.state == 'R' || (status.threads != 1 && has_runnable_thread(pid));
        }
    }
    if (all) closedir(all);
    if (crowded) memory_kb = fair_kb;
    long grown_kb = shared_growth_kb();
    if (grown_kb > memory_limit_kb / 4) memory_kb = (long)larger((double)memory_kb, (double)with_shared_kb(grown_kb));
    if (memory_kb > usage->peak_kb) usage->peak_kb = memory_kb;
    usage->cpu_s = larger(usage->cpu_s, larger(cpu_s, usage->seen_cpu_s));
    usage->wall_s = now_s() - usage->started_s;
    if (!runnable || new != usage->newest_pid - newest_before)
        usage->slept_s += larger(0, usage->wall_s - wall_before_s - (usage->cpu_s - cpu_before_s));
}
