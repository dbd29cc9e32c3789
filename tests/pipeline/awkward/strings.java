// a comment with "quotes" and 'apostrophes' and /* an opening
/** a doc comment with // and "quotes
 *  over lines * / not yet **/
import java.util.*; // "imports"
class Main {
    static final String A = "// no comment", B = "/* none */", C = "\"", D = "\\"; // yes
    static final char E = '"', F = '\'', G = '\\', H = '/'; /* 'one' */
    static final String T = """
        // no comment " and ""
        \""" /* none */
        """; // after a text block
    static final String U = "\u0041 // none" + 'x' + "" + "ü 日本 // none";
    static int f(int x) { return x /* by */ / 2 /**/ * 3; }
    int g = 8 //* not a block
        / 2;
    @SuppressWarnings("// none") /* after */ void h() { String s = "a" + /* between */ "b"; }
    long i = 1_000_000L; // separators
}
// last, without an end of line: "ö"