// expect: time_limit_exceeded
int main(void) {
    for (volatile unsigned i = 0;; i++);
}
