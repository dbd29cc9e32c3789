// expect: wrong_answer
#include <stdio.h>
int main(void) {
    fwrite("contained\0\n", 1, 11, stdout);
}
