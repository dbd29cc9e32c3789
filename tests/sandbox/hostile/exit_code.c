// expect: runtime_error
#include <stdio.h>
int main(void) {
    puts("contained");
    return 3;
}
