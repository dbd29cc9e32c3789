// expect: output_limit_exceeded runtime_error

#include <fcntl.h>
int main(void) {
    return fallocate(1, FALLOC_FL_KEEP_SIZE, 0, 1l << 30) ? 3 : 4;
}
