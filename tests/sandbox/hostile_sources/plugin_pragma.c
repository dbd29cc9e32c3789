// expect: accepted
#pragma GCC plugin "/tmp/planted.so"
#pragma comment(lib, "/etc/shadow")
int main(void) {}
