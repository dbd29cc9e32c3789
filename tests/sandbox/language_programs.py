"""For each language beside those of test_languages.py: a program that adds up its input, and programs that
spin, take all memory, fail, do not compile, and try to reach what they must not.

The hostile ones print `escaped` if they can read /etc/passwd or write beside themselves.
"""

from __future__ import annotations

ADD = {
    "bash": "read -r line; s=0; for x in $line; do s=$((s + x)); done; echo $s",
    "csharp": "using System; using System.Linq; class P { static void Main() {"
    " Console.WriteLine(Console.ReadLine().Split().Sum(x => long.Parse(x))); } }",
    "d": "import std; void main() { readln().split().map!(x => x.to!long).sum().writeln(); }",
    "haskell": "main :: IO ()\nmain = getLine >>= print . sum . map (read :: String -> Integer) . words\n",
    "kotlin": 'fun main() { println(readLine()!!.split(" ").map { it.toLong() }.sum()) }',
    "lua": 'local s = 0; for x in io.read():gmatch("%S+") do s = s + tonumber(x) end; print(s)',
    "ocaml": "let () = read_line () |> String.split_on_char ' ' |> List.map int_of_string"
    " |> List.fold_left (+) 0 |> print_int",
    "pascal": "var s, x: int64; begin s := 0; while not eoln do begin read(x); s := s + x; end;"
    " writeln(s); end.",
    "perl": "my $s = 0; $s += $_ for split ' ', <STDIN>; print \"$s\\n\";",
    "php": "<?php echo array_sum(explode(' ', trim(fgets(STDIN)))), \"\\n\";",
    "pypy3": "print(sum(map(int, input().split())))",
    "r": 'cat(sum(scan(file("stdin"), quiet = TRUE)), "\\n")',
    "ruby": "puts gets.split.map(&:to_i).sum",
    "scala": 'object Main extends App { println(io.StdIn.readLine().split(" ").map(_.toLong).sum) }',
    "typescript": "const s: string = require('fs').readFileSync(0, 'utf8');\n"
    "console.log(s.trim().split(' ').map(Number).reduce((a: number, b: number): number => a + b, 0));",
    "racket": "#lang racket\n(displayln (apply + (map string->number (string-split (read-line)))))",
    "sql": "CREATE TABLE lines (line TEXT);\n.import /dev/stdin lines\n"
    "SELECT sum(value) FROM lines, json_each('[' || replace(line, ' ', ',') || ']');",
    "verilog": "module tb; integer s, x; initial begin s = 0;"
    ' while ($fscanf(\'h8000_0000, "%d", x) == 1) s = s + x; $display("%0d", s); end endmodule',
}
SPIN = {
    "bash": "while true; do :; done",
    "csharp": "class P { static void Main() { while (true); } }",
    "d": "void main() { for (;;) {} }",
    "haskell": "main :: IO ()\n"
    "main = mapM_ (\\n -> if n < 0 then print n else return ()) [0 :: Integer ..]\n",
    "lua": "while true do end",
    "ocaml": "let rec f n = f (n + 1) let () = f 0",
    "pascal": "begin while true do; end.",
    "perl": "1 while 1;",
    "php": "<?php while (true);",
    "pypy3": "while True: pass",
    "r": "while (TRUE) {}",
    "ruby": "loop {}",
    "typescript": "for (;;);",
    "racket": "#lang racket/base\n(let loop () (loop))",
    "sql": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n;",
    "verilog": "module tb; initial forever #1; endmodule",
}
HOARD = {
    "csharp": "using System.Collections.Generic; class P { static void Main() {"
    " var l = new List<byte[]>(); while (true) { var b = new byte[1 << 20];"
    " for (int i = 0; i < b.Length; i += 4096) b[i] = 1; l.Add(b); } } }",
    "d": "void main() { byte[][] b; for (;;) { b ~= new byte[1 << 20]; b[$ - 1][] = 1; } }",
    "lua": 'local t = {} while true do t[#t + 1] = string.rep("x", 1000000 + #t) end',
    "ocaml": "let rec f l = f (Bytes.make 1000000 'x' :: l) let () = f []",
    "pascal": "var p: ^byte; begin while true do begin"
    " getmem(p, 1000000); fillchar(p^, 1000000, 1); end; end.",
    "perl": "my @a; push @a, 'x' x 1000000 while 1;",
    "php": "<?php $a = []; while (true) $a[] = str_repeat('x', 1000000 + count($a));",
    "pypy3": "b = []\nwhile True: b.append(bytearray(b'x' * 1000000))",
    "r": "l <- list(); while (TRUE) l[[length(l) + 1]] <- rep(length(l), 1e6)",
    "ruby": "a = []; loop { a << 'x' * 1000000 }",
    "typescript": "const a: number[][] = []; while (true) a.push(new Array(100000).fill(1.5));",
    "racket": "#lang racket/base\n(let loop ([l null]) (loop (cons (make-bytes 1000000 1) l)))",
    "sql": "CREATE TABLE t (b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " INSERT INTO t SELECT randomblob(1000000) FROM n;",
    "verilog": 'module tb; string s; initial begin s = "x"; while (1) s = {s, s}; end endmodule',
}
CRASH = {
    "bash": "exit 3",
    "csharp": "class P { static void Main() { throw new System.Exception(); } }",
    "d": 'void main() { throw new Exception("no"); }',
    "haskell": 'main :: IO ()\nmain = error "no"\n',
    "kotlin": "fun main() { throw Exception() }",
    "lua": 'error("no")',
    "ocaml": 'let () = failwith "no"',
    "pascal": "var n: longint; begin n := 0; writeln(1 div n); end.",
    "perl": "die 'no';",
    "php": "<?php throw new Exception('no');",
    "pypy3": "1 / 0",
    "r": 'stop("no")',
    "ruby": "raise 'no'",
    "scala": 'object Main extends App { throw new Exception("no") }',
    "typescript": "throw new Error('no');",
    "racket": '#lang racket/base\n(error "no")',
    "sql": "SELECT * FROM missing;",
    "verilog": "module tb; initial $fatal(1); endmodule",
}
BROKEN = {
    "csharp": "class P { static void Main() { x } }",
    "d": "void main() { x }",
    "haskell": "main :: IO ()\nmain = x\n",
    "kotlin": "fun main() { x }",
    "ocaml": "let () = x",
    "pascal": "begin x; end.",
    "scala": "object Main extends App { x }",
    "typescript": "const = 1;",
    "verilog": "module tb; initial x = ; endmodule",
}
HOSTILE = {
    "bash": "cat /etc/passwd && echo escaped; echo x > /program/y && echo escaped; true",
    "csharp": "using System; using System.IO; class P { static void Main() {"
    ' try { File.ReadAllText("/etc/passwd"); Console.WriteLine("escaped"); } catch (Exception) {}'
    ' try { File.WriteAllText("/program/y", "x"); Console.WriteLine("escaped"); } catch (Exception) {} } }',
    "d": "import std; void main() {"
    ' try { readText("/etc/passwd"); writeln("escaped"); } catch (Exception e) {}'
    ' try { std.file.write("/program/y", "x"); writeln("escaped"); } catch (Exception e) {} }',
    "haskell": "import Control.Exception\nmain :: IO ()\nmain = do\n"
    '  tried (readFile "/etc/passwd" >>= putStrLn)\n'
    '  tried (writeFile "/program/y" "x" >> putStrLn "escaped")\n'
    "tried :: IO () -> IO ()\ntried a = a `catch` \\e -> const (return ()) (e :: IOException)\n",
    "lua": 'if io.open("/etc/passwd") or io.open("/program/y", "w") then print("escaped") end',
    "ocaml": 'let tried f = try f (); print_string "escaped" with Sys_error _ -> ()\n'
    'let () = tried (fun () -> ignore (open_in "/etc/passwd"));'
    ' tried (fun () -> ignore (open_out "/program/y"))',
    "pascal": "{$I-} var f: text; begin assign(f, '/etc/passwd'); reset(f);"
    " if ioresult = 0 then writeln('escaped');"
    " assign(f, '/program/y'); rewrite(f); if ioresult = 0 then writeln('escaped'); end.",
    "perl": "print 'escaped' if open(my $f, '<', '/etc/passwd') or open(my $g, '>', '/program/y');",
    "php": "<?php if (@file_get_contents('/etc/passwd') or @file_put_contents('/program/y', 'x'))"
    " echo 'escaped';",
    "pypy3": "for name, mode in (('/etc/passwd', 'r'), ('/program/y', 'w')):\n"
    "    try: open(name, mode); print('escaped')\n    except OSError: pass",
    "r": 'for (f in c("/etc/passwd")) if (file.access(f, 4) == 0) cat("escaped")\n'
    'if (file.create("/program/y", showWarnings = FALSE)) cat("escaped")',
    "ruby": "[['/etc/passwd', 'r'], ['/program/y', 'w']].each { |n, m|"
    " begin; File.open(n, m); puts 'escaped'; rescue SystemCallError; end }",
    "typescript": "const fs = require('fs');\n"
    "for (const f of [() => fs.readFileSync('/etc/passwd'), () => fs.writeFileSync('/program/y', 'x')])\n"
    "    try { f(); console.log('escaped'); } catch (e: any) { }",
    "racket": "#lang racket/base\n"
    '(define (tried f) (with-handlers ([exn:fail? void]) (f) (display "escaped")))\n'
    '(tried (lambda () (open-input-file "/etc/passwd")))\n'
    '(tried (lambda () (open-output-file "/program/y")))',
    "sql": "SELECT 'escaped' WHERE readfile('/etc/passwd') IS NOT NULL;\n"
    ".system cat /etc/passwd && echo escaped\n.system echo x > /program/y && echo escaped\n",
    "verilog": 'module tb; integer f; initial begin f = $fopen("/etc/passwd", "r");'
    ' if (f) $display("escaped"); f = $fopen("/program/y", "w"); if (f) $display("escaped"); end endmodule',
}
