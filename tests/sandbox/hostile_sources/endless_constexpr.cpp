// expect: compile_error
constexpr int forever() { for (;;); return 0; }
int main() { constexpr int never = forever(); return never; }
