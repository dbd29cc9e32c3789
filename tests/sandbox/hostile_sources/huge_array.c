// expect: compile_error
int table[1l << 40] = {1};
int main(void) {
    return table[5];
}
