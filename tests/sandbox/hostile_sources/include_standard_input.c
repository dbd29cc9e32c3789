// expect: accepted
#include "/dev/stdin"
int main(void) {}
