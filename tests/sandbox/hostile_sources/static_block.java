// expect: runtime_error
public class Main {
    static { System.exit(3); }
    public static void main(String[] arguments) {}
}
