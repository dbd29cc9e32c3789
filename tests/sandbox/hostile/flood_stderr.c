// expect: output_limit_exceeded
#include <stdio.h>
int main(void) {
    for (;;) fputs("error error error error error error error\n", stderr);
}
