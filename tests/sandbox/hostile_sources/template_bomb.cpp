// expect: compile_error
// slow
template <int N, int M> struct Bomb : Bomb<N - 1, 2 * M>, Bomb<N - 1, 2 * M + 1> {};
template <int M> struct Bomb<0, M> {};
int main() { Bomb<26, 0> bomb; }
