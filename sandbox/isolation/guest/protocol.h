/* The constants and layouts of protocol.py that the supervisor in C uses; test_protocol.py compares the
 * files. */

#include <stdint.h>

/* The first byte of a request, and the supervisor's first packet. */
enum { SETUP = 'S', PROGRAM = 'A', ENVIRONMENT = 'E', TEST = 'T', HELLO = 'H' };

enum { MAX_MESSAGE = 1 << 16, MAX_DESCRIPTORS = 96, MUCH_OUTPUT_BYTES = 1 << 20 };
enum { STARVED_FACTOR = 10, EXEC_FAILED = 127 };
enum { OK = 0, REFUSED = 1 };
enum { ENDED = 0, CPU_EXCEEDED = 1, WALL_EXCEEDED = 2, MEMORY_EXCEEDED = 3, STARVED = 4 };
enum { SCRATCH_CHANGED = 1 };

struct setup {
    int64_t uid, memory_kb, file_bytes, processes, open_files, watch_ms;
};

struct test {
    int64_t cpu_us, wall_us, descriptors;
};

struct answer {
    int64_t what, status, cpu_us, wall_us, peak_kb, ending, flags, output_bytes, error_bytes;
};
