/* Memory that a process's own count does not show: of processes whose main thread has left, and shared memory that no page
 * table holds. Included by usage.h. usage.py does the same.
 */

enum { MOST_MAPPINGS = 256, LINE_BYTES = 512 };

struct mapping {
    unsigned long inode;
    long kb;
};

/* Resident pages as a thread that is still there sees them: a main thread that has left has given its memory away. */
static long pages_of_threads(long pid) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    if (!threads) return 0;
    for (struct dirent *entry; !pages && (entry = readdir(threads));) {
        struct status status;
        char name[352];
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        snprintf(name, sizeof name, "/proc/%ld/task/%s/stat", pid, entry->d_name);
        if (read_status(name, &status)) pages = status.pages;
    }
    closedir(threads);
    return pages;
}

/* Resident memory, with shared pages divided among their users, so that forks are not counted twice. */
static long proportional_kb(long pid, long otherwise_kb) {
    char path[64], text[TEXT_BYTES];
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    const char *found = read_text(path, text) ? strstr(text, "\nPss:") : NULL;
    return found ? atol(found + 5) : otherwise_kb;
}

/* Shared memory of the whole machine. */
static long machine_shared_kb(void) {
    char text[TEXT_BYTES];
    const char *found = read_text("/proc/meminfo", text) ? strstr(text, "\nShmem:") : NULL;
    return found ? atol(found + 7) : 0;
}

/* By how much it has grown since it was smallest, from the first call on: the supervisor's start. */
static long shared_growth_kb(void) {
    static long least_kb = -1;
    long kb = machine_shared_kb();
    if (least_kb < 0 || kb < least_kb) least_kb = kb;
    return kb - least_kb;
}

/* Add the mappings of a process of shared memory without a name, each of them once for all processes. False where the process
 * hides them. */
static bool add_mappings(long pid, struct mapping *known, int *count) {
    char path[64], line[LINE_BYTES], mode[5];
    snprintf(path, sizeof path, "/proc/%ld/maps", pid);
    FILE *maps = fopen(path, "re");
    if (!maps) return errno != EACCES && errno != EPERM;
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end, inode;
        if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", &start, &end, mode, &inode) != 4) continue;
        if (mode[3] != 's' || !inode || !strstr(line, "(deleted)")) continue;
        int i = 0;
        while (i < *count && known[i].inode != inode) i++;
        if (i == MOST_MAPPINGS) continue;
        if (i == *count) known[(*count)++] = (struct mapping){.inode = inode};
        if ((long)((end - start) / 1024) > known[i].kb) known[i].kb = (long)((end - start) / 1024);
    }
    fclose(maps);
    return true;
}

/* Resident memory that is the process's own. */
static long private_kb(long pid) {
    char path[64], text[TEXT_BYTES];
    long pages, shared;
    snprintf(path, sizeof path, "/proc/%ld/statm", pid);
    if (!read_text(path, text) || sscanf(text, "%*d %ld %ld", &pages, &shared) != 2) return 0;
    return (pages - shared) * PAGE_KB;
}

/* Memory of all programs, where shared memory counts as held that no page table need hold: what they have mapped of it, as far
 * as the machine's shared memory has grown. */
static long with_shared_kb(long grown_kb) {
    static struct mapping known[MOST_MAPPINGS];
    int count = 0;
    long own_kb = 0, shared_kb = 0;
    bool hidden = false;
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all && (entry = readdir(all));) {
        long pid = atol(entry->d_name);
        if (pid <= 1) continue;
        own_kb += private_kb(pid);
        hidden = !add_mappings(pid, known, &count) || hidden;
    }
    if (all) closedir(all);
    for (int i = 0; i < count; i++) shared_kb += known[i].kb;
    return own_kb + (shared_kb < grown_kb && !hidden ? shared_kb : grown_kb);
}
