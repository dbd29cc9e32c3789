/* The supervisor of executables: process 1 in a jail, in C because it works in every test.
 *
 * It does what supervisor.py does, without what only Python programs and compilers need; protocol.py
 * describes the messages. A test takes vfork, exec, a wait for the end, kill(-1), and reaping. bubblewrap
 * starts it as `supervisor DESCRIPTOR`. Built as a library, it does the same for forks of the supervisor
 * in Python.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "protocol.h"
#include "usage.h"

enum { MAX_WORDS = 4096, MAX_TESTS = MAX_DESCRIPTORS / 3, LISTING_BYTES = 2048 };

struct request {
    char letter;
    char body[MAX_MESSAGE + 1];
    size_t size;
    int descriptors[MAX_DESCRIPTORS];
    int count;
};

/* What changes when anything is written, linked or removed in a scratch folder. */
struct scratch {
    struct timespec changed;
    mode_t mode;
    nlink_t links;
    ssize_t listing_size;
    char listing[LISTING_BYTES];
};

static const char *const SCRATCH[] = {"/tmp", "/dev/shm"};
static struct scratch clean_scratch[2];
static int scratch_folders[2]; /* kept open: each path would be looked up in every test */
static int control = -1;
static double watch_s = 0.01;
static long memory_kb, cores = 1;
static char *argv_words[MAX_WORDS], *environment_words[MAX_WORDS];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void send_answers(const struct answer *answers, size_t count) {
    if (send(control, answers, count * sizeof *answers, MSG_NOSIGNAL) < 0) exit(0);
}

static void send_answer(int what) {
    struct answer answer = {.what = what};
    send_answers(&answer, 1);
}

static bool look_at_scratch(int folder, struct scratch *found) {
    struct stat status;
    memset(found, 0, sizeof *found);
    bool seen = fstat(folder, &status) == 0 && lseek(folder, 0, SEEK_SET) == 0;
    found->listing_size = syscall(SYS_getdents64, folder, found->listing, LISTING_BYTES);
    found->changed = status.st_ctim;
    found->mode = status.st_mode;
    found->links = status.st_nlink;
    return seen && found->listing_size >= 0;
}

static bool remember_scratch(void) {
    for (int i = 0; i < 2; i++) {
        scratch_folders[i] = open(SCRATCH[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (scratch_folders[i] < 0 || !look_at_scratch(scratch_folders[i], &clean_scratch[i])) return false;
    }
    return true;
}

static bool scratch_changed(void) {
    struct scratch found;
    for (int i = 0; i < 2; i++)
        if (!look_at_scratch(scratch_folders[i], &found) || memcmp(&found, &clean_scratch[i], sizeof found))
            return true;
    return false;
}

/* Change from root to a user that owns nothing, and drop every capability. */
static void become(uid_t uid) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) die("setresuid");
    if (syscall(SYS_capset, &header, none)) die("capset");
}

static void limit(int what, rlim_t value) {
    struct rlimit both = {value, value};
    if (setrlimit(what, &both)) die("setrlimit");
}

static void set_up(const struct setup *setup) {
    memory_kb = setup->memory_kb;
    watch_s = (double)setup->watch_ms / 1000;
    shared_growth_kb();
    if (setup->uid) become((uid_t)setup->uid);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) die("prctl"); /* closes /proc/1/{mem,fd,maps} to the programs */
    limit(RLIMIT_FSIZE, (rlim_t)setup->file_bytes);
    limit(RLIMIT_NPROC, (rlim_t)setup->processes + 1);
    limit(RLIMIT_NOFILE, (rlim_t)setup->open_files);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_MSGQUEUE, 0);
    if (!remember_scratch()) die("scratch folders");
}

/* Words with NUL between them, as a list that ends with NULL. */
static void take_words(const struct request *request, char **words) {
    char *copy = malloc(request->size + 1);
    int count = 0;
    if (!copy) die("malloc");
    memcpy(copy, request->body, request->size);
    copy[request->size] = 0;
    for (char *word = copy; word <= copy + request->size && count < MAX_WORDS - 1; word += strlen(word) + 1)
        if (*word || words == argv_words) words[count++] = word;
    words[count] = NULL;
    send_answer(OK);
}

/* In the child, which may share the supervisor's memory: a process group, a limit on CPU time, and its own
 * descriptors. A session would do as well, but the kernel makes a scheduling group for each session, which
 * is slow. */
static void set_up_child(const int *descriptors, int count, int64_t cpu_us) {
    setpgid(0, 0);
    /* A second above the limit: the supervisor is exact; this stops a program whose supervisor is delayed. */
    struct rlimit seconds = {(rlim_t)(cpu_us / 1000000 + 2), (rlim_t)(cpu_us / 1000000 + 2)};
    setrlimit(RLIMIT_CPU, &seconds);
    /* They came in one message and so rise, and none is below 3: no target is a source still to be read. */
    for (int target = 0; target < count; target++) dup2(descriptors[target], target);
}

/* Wait for the main process to exit or to exceed a limit. Returns how it ended. If the judge's worker is
 * killed meanwhile, the supervisor exits, and with it all of its namespace: bubblewrap dies with its
 * parent, but may not signal a supervisor that runs as another user. */
static int watch(pid_t pid, double cpu_s, double wall_s, struct usage *usage) {
    int ending = ENDED;
    struct pollfd ends[2] = {{.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN}, {.fd = control}};
    if (ends[0].fd < 0) die("pidfd_open");
    for (;;) {
        double wait_s = (cpu_s - usage->cpu_s) / (double)cores;
        if (wall_s - usage->slept_s < wait_s) wait_s = wall_s - usage->slept_s;
        if (watch_s < wait_s) wait_s = watch_s;
        int ready = poll(ends, 2, wait_s > 0.001 ? (int)(wait_s * 1000) : 1);
        if (ready > 0 && ends[1].revents) _exit(0);
        if (ready > 0) break;
        usage_look(usage, memory_kb);
        if (usage->cpu_s > cpu_s) ending = CPU_EXCEEDED;
        else if (usage->peak_kb > memory_kb) ending = MEMORY_EXCEEDED;
        else if (usage->slept_s > wall_s) ending = WALL_EXCEEDED;
        else if (usage->wall_s > STARVED_FACTOR * wall_s) ending = STARVED;
        if (ending != ENDED) break;
    }
    close(ends[0].fd);
    return ending;
}

static int64_t microseconds(struct timeval time) { return time.tv_sec * 1000000LL + time.tv_usec; }

/* Kill and reap all other processes, and add to the answer what they have used.
 *
 * A signal to all makes the kernel look at every process of the machine. It is not needed where process 1 has
 * no child left: all others of its namespace descend from it, and orphans become its children. */
static void clean_up(pid_t main_pid, struct answer *answer) {
    struct rusage used;
    pid_t reaped;
    int status, options = answer->ending == ENDED && getpid() == 1 ? WNOHANG : 0;
    if (!options) kill(-1, SIGKILL);
    while ((reaped = wait4(-1, &status, options, &used)) >= 0 || errno == EINTR) {
        if (reaped < 0) continue;
        if (reaped == 0) {
            kill(-1, SIGKILL);
            options = 0;
            continue;
        }
        if (reaped == main_pid) answer->status = status;
        if (used.ru_maxrss > answer->peak_kb) answer->peak_kb = used.ru_maxrss;
        answer->cpu_us += microseconds(used.ru_utime) + microseconds(used.ru_stime);
    }
}

/* The size of a file; -1 for a pipe. */
static off_t file_size(int descriptor) {
    struct stat found;
    return fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) ? found.st_size : -1;
}

/* Watch a program's main process to its end or a limit, clean up after it, and fill in the answer. */
static void watch_and_clean_up(
    pid_t pid, double started_s, int64_t cpu_us, int64_t wall_us, struct answer *answer
) {
    struct usage usage;
    usage_start(&usage, pid);
    answer->ending = watch(pid, (double)cpu_us / 1e6, (double)wall_us / 1e6, &usage);
    answer->wall_us = (int64_t)((now_s() - started_s) * 1e6);
    answer->peak_kb = usage.peak_kb;
    clean_up(pid, answer);
    usage_end(&usage);
    if (scratch_changed()) answer->flags |= SCRATCH_CHANGED;
}

#ifdef LIBRARY
/* For the supervisor in Python, the program is a fork of the supervisor itself. While they share memory,
 * every page that either of them touches must be copied. So everything between two forks is done here, in
 * C, which touches few pages. */

void PyOS_BeforeFork(void), PyOS_AfterFork_Parent(void), PyOS_AfterFork_Child(void);

static pid_t start_program(const int *descriptors, int count, int64_t cpu_us) {
    pid_t pid = fork();
    if (pid == 0) {
        set_up_child(descriptors, count, cpu_us);
        syscall(SYS_close_range, count, ~0U, 0);
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    }
    return pid;
}
#else
/* Never returns in the child, which shares the supervisor's memory until it executes. */
static pid_t start_program(const int *descriptors, int count, int64_t cpu_us) {
    pid_t pid = vfork();
    if (pid == 0) {
        set_up_child(descriptors, count, cpu_us);
        execve(argv_words[0], argv_words, environment_words);
        dprintf(2, "cannot start %s: %s\n", argv_words[0], strerror(errno));
        _exit(EXEC_FAILED);
    }
    return pid;
}
#endif

/* False in a forked child, which is the program. */
static bool run_test(int *descriptors, int count, int64_t cpu_us, int64_t wall_us, struct answer *answer) {
    *answer = (struct answer){.what = OK};
    double started_s = now_s();
    pid_t pid = start_program(descriptors, count, cpu_us);
    if (pid == 0) return false;
    if (pid < 0) die("fork");
    /* A pipe between two programs ends only when nobody else holds it. */
    for (int i = 0; i < count; i++)
        if (file_size(descriptors[i]) < 0) close(descriptors[i]), descriptors[i] = -1;
    watch_and_clean_up(pid, started_s, cpu_us, wall_us, answer);
    if (count > 1 && descriptors[1] >= 0) answer->output_bytes = file_size(descriptors[1]);
    if (count > 2 && descriptors[2] >= 0) answer->error_bytes = file_size(descriptors[2]);
    return true;
}

/* Run the tests one after the other, up to the first after which the next could be judged wrongly: it
 * failed, left something behind, or wrote so much that its output takes the next one's memory. Closes the
 * descriptors of the tests that ran. Returns their number, or -1 in a forked child. */
static int run_tests(const struct test *test, int *descriptors, int count, struct answer *answers) {
    int done = 0, each = (int)test->descriptors;
    off_t written = 0;
    if (each < 1) die("descriptors per test");
    while ((done + 1) * each <= count && done < MAX_TESTS) {
        int *own = &descriptors[done * each];
        struct answer *answer = &answers[done++];
        if (!run_test(own, each, test->cpu_us, test->wall_us, answer)) return -1;
        for (int i = 0; i < each; i++)
            if (own[i] >= 0) close(own[i]), own[i] = -1;
        written += answer->output_bytes + answer->error_bytes;
        if (answer->status || answer->ending || answer->flags || written > MUCH_OUTPUT_BYTES) break;
    }
    return done;
}

static void close_all(const int *descriptors, int count) {
    for (int i = 0; i < count; i++)
        if (descriptors[i] >= 0) close(descriptors[i]);
}

#ifdef LIBRARY
static struct answer answers[MAX_TESTS];

int prepare(const struct setup *setup) {
    cores = sysconf(_SC_NPROCESSORS_ONLN);
    set_up(setup);
    return true;
}

/* Returns true in the child. The descriptors are closed in both; the answers go to `socket`, if it is one. */
int fork_tests(int socket, const struct test *test, const int *given, int count) {
    int descriptors[MAX_DESCRIPTORS];
    if (count > MAX_DESCRIPTORS) die("descriptors");
    memcpy(descriptors, given, (size_t)count * sizeof(int));
    control = socket;
    PyOS_BeforeFork(); /* once for all tests: every child finds the same */
    int done = run_tests(test, descriptors, count, answers);
    if (done < 0) {
        PyOS_AfterFork_Child();
        return true;
    }
    PyOS_AfterFork_Parent();
    close_all(descriptors, count);
    if (socket >= 0) send_answers(answers, (size_t)done);
    return false;
}

/* A number of the first answer. */
int number(int index) { return (int)((const int64_t *)answers)[index]; }

#else

/* The next request. Ends the supervisor, and with it all of its namespace, when the judge has closed its
 * end. */
static void receive(struct request *request) {
    char space[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
    struct iovec parts[2] = {{&request->letter, 1}, {request->body, MAX_MESSAGE}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = space, .msg_controllen = sizeof space,
    };
    ssize_t size = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) _exit(0);
    request->size = (size_t)size - 1;
    request->count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        int count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(&request->descriptors[request->count], CMSG_DATA(part), (size_t)count * sizeof(int));
        request->count += count;
    }
}

static void take_limits(const struct request *request) {
    struct setup setup;
    memcpy(&setup, request->body, sizeof setup);
    set_up(&setup);
    send_answer(OK);
}

static void answer_tests(struct request *request) {
    static struct answer answers[MAX_TESTS];
    struct test test;
    memcpy(&test, request->body, sizeof test);
    send_answers(answers, (size_t)run_tests(&test, request->descriptors, request->count, answers));
}

int main(int argc, char **argv) {
    static struct request request;
    if (argc != 2) return 2;
    control = atoi(argv[1]);
    cores = sysconf(_SC_NPROCESSORS_ONLN);
    /* The judge's worker ignores some signals. */
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    /* The supervisor itself may have been started from a descriptor; programs get no others than their own
     * three. */
    if (syscall(SYS_close_range, 3, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */)) die("close_range");
    const char hello = HELLO;
    if (send(control, &hello, 1, MSG_NOSIGNAL) != 1) return 0;
    for (;;) {
        receive(&request);
        if (request.letter == SETUP) take_limits(&request);
        else if (request.letter == ENVIRONMENT) take_words(&request, environment_words);
        else if (request.letter == PROGRAM) take_words(&request, argv_words);
        else if (request.letter == TEST) answer_tests(&request);
        else send_answer(REFUSED);
        close_all(request.descriptors, request.count);
    }
}

#endif
