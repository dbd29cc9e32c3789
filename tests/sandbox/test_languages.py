"""Each verdict in each language of this machine."""

import resource

import pytest

from sandbox import Limits
from sandbox.building.builder import HEADER_FIRST, Builder
from sandbox.languages import LANGUAGES, find_language, toolchain
from sandbox.languages.java_classes import public_class

JAVA = (
    "import java.util.*; public class Sum {{ public static void main(String[] "
    "a) throws Exception {{ {0} }} }}"
)
CPP = "#include <bits/stdc++.h>\nusing namespace std;\nint main(){{ {0} }}"
# Compiles in a quarter of the time.
PLAIN_CPP = "#include <cstdlib>\n#include <vector>\nusing namespace std;\nint main(){{ {0} }}"
C = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void){{ {0} }}"
RUST = "use std::io::*; fn main() {{ {0} }}"

# The body of a program that adds up its input, and of those that fail in a known way.
ADD = {
    "python3": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "cpp": CPP.format("long long s=0,x; while(cin>>x) s+=x; cout<<s<<endl;"),
    "cpp17": CPP.format("long long s=0,x; while(cin>>x) s+=x; cout<<s<<endl;"),
    "c": C.format('long s=0,x; while(scanf("%ld",&x)==1) s+=x; printf("%ld\\n",s);'),
    "java": JAVA.format(
        "Scanner in=new Scanner(System.in); long s=0; while(in.hasNextLong()) "
        "s+=in.nextLong(); System.out.println(s);"
    ),
    "javascript": "console.log(require('fs').readFileSync(0,'utf8').split(/\\s+/)"
    ".reduce((s,x)=>s+Number(x),0))",
    "rust": RUST.format(
        "let mut t=String::new(); stdin().read_to_string(&mut t).unwrap();"
        'println!("{}", t.split_whitespace().map(|x| x.parse::<i64>().unwrap()).sum::<i64>());'
    ),
    "go": (
        'package main\nimport "fmt"\nfunc main(){s,x:=0,0; for {n,_:=fmt.Scan(&x); if '
        "n==0 {break}; s+=x}; fmt.Println(s)}"
    ),
}
SPIN = {
    "python3": "while True: pass",
    "cpp": PLAIN_CPP.format("for(volatile unsigned i=0;;i++);"),
    "cpp17": PLAIN_CPP.format("for(volatile unsigned i=0;;i++);"),
    "c": C.format("for(volatile unsigned i=0;;i++);"),
    "java": JAVA.format("for(;;);"),
    "javascript": "for(;;);",
    "rust": RUST.format("loop { std::hint::spin_loop(); }"),
    "go": "package main\nfunc main(){for {}}",
}
HOARD = {
    "python3": "b=[]\nwhile True: b.append(bytearray(1<<20))",
    "cpp": PLAIN_CPP.format("vector<vector<char>> b; for(;;) b.emplace_back(1<<20,1);"),
    "cpp17": PLAIN_CPP.format("vector<vector<char>> b; for(;;) b.emplace_back(1<<20,1);"),
    "c": C.format("for(;;){char*volatile p=malloc(1<<20); if(p) memset(p,1,1<<20);}"),
    "rust": RUST.format("let mut b=Vec::new(); loop { b.push(vec![1u8; 1<<20]); }"),
    "go": "package main\nvar b [][]byte\n"
    "func main(){for {c:=make([]byte,1<<20); for i:=0;i<1<<20;i+=4096 {c[i]=1}; b=append(b,c)}}",
}
CRASH = {
    "python3": "print(1/0)",
    "cpp": PLAIN_CPP.format("abort();"),
    "cpp17": PLAIN_CPP.format("abort();"),
    "c": C.format("return 7;"),
    "java": JAVA.format("throw new Exception();"),
    "javascript": "throw new Error()",
    "rust": RUST.format("panic!();"),
    "go": "package main\nfunc main(){panic(1)}",
}
BROKEN = {
    "python3": "print(1",
    "cpp": "int main(){ return x; }",
    "cpp17": "int main(){ return x; }",
    "c": "int main(void){ return x; }",
    "java": "public class A { int }",
    "rust": "fn main() { x }",
    "go": "package main\nfunc main(){x}",
}
HERE = [language.name for language in LANGUAGES if language.name in ADD and toolchain(language)]
LIMITS = Limits(time_s=1.0, memory_mb=192, output_bytes=1 << 20)


@pytest.mark.parametrize("language", HERE)
def test_right_and_wrong(judge, language):
    program = ADD[language]
    judgement = judge(
        language, program, ("1 2 3\n", "6\n"), ("4\n", "5\n"), ("7", "7"), stop_at_first_failure=False
    )
    assert [test.verdict for test in judgement.tests] == ["accepted", "wrong_answer", "accepted"], judgement
    assert (judgement.verdict, judgement.passed, judgement.total, judgement.first_failure) == (
        "wrong_answer",
        2,
        3,
        "1",
    )
    assert judgement.tests[1].detail == "token 1: '4' instead of '5'"
    assert judgement.toolchain and judgement.tier and judgement.judge_version


def cases(programs, verdict):
    """C++17 differs from C++20 by one option, and compiling takes seconds: its failures are slow tests."""
    for language in HERE:
        if language in programs:
            marks = [pytest.mark.slow] if language == "cpp17" and verdict != "compile_error" else []
            yield pytest.param(language, programs[language], verdict, marks=marks, id=f"{language} {verdict}")


@pytest.mark.parametrize(
    ("language", "program", "verdict"),
    [
        *cases(SPIN, "time_limit_exceeded"),
        *cases(HOARD, "memory_limit_exceeded"),
        *cases(CRASH, "runtime_error"),
        *cases(BROKEN, "compile_error"),
    ],
)
def test_failures(judge, language, program, verdict):
    judgement = judge(language, program, ("", ""), limits=LIMITS)
    assert judgement.verdict == verdict, judgement
    if verdict == "compile_error":
        assert judgement.compile_output and not judgement.tests


def test_the_large_header_is_compiled_once(isolation, cache):
    """Programs that include it first use the compiled header; others, and other standards, do not."""
    if "cpp" not in HERE:
        pytest.skip("no g++")
    builder = Builder(isolation, cache / "headers")
    cpp = find_language("cpp")
    took, built = [], []
    for before in ("// first\n/* a\n b */ ", "", "#define NDEBUG\n"):
        source = before + CPP.format(f'puts("{len(before)}");')
        started = children_cpu_s()
        built.append(builder.build(cpp, source).folder)
        took.append(children_cpu_s() - started)
    headers = list((cache / "headers").glob("header-*/bits/stdc++.h.gch"))
    assert len(headers) == 1 and len(set(built)) == 3
    assert took[1] < took[2] / 2 < took[0], took
    assert HEADER_FIRST.match(b"#include <bits/stdc++.h>") and not HEADER_FIRST.match(
        b"int a;\n#include <bits/stdc++.h>"
    )


def test_another_header_may_include_the_large_one_again(judge):
    if "cpp" not in HERE:
        pytest.skip("no g++")
    headers = "#include <bits/stdc++.h>\n#include <bits/extc++.h>\n"
    program = headers + "int main() { __gnu_pbds::gp_hash_table<int, int> t; std::cout << t[1]; }"
    assert judge("cpp", program, ("", "0")).verdict == "accepted"


def children_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_missing_language_is_not_a_failure_of_the_program(judge):
    assert judge("befunge", "@", ("", "")).verdict == "language_unavailable"


def test_aliases():
    assert find_language("C++17").name == "cpp17"
    assert find_language("cpp20").name == "cpp20"
    assert find_language("PyPy3").name == "pypy3"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("package a.b;\npublic final class Foo { static void main(){} }", "Foo"),
        ("// public class Old\n/* public class Older */ public class New {}", "New"),
        ('class A { String s = "public class B {"; }\npublic class C {}', "C"),
        ("class A { char c = '\"'; public class B {} }\npublic class C {}", "C"),
        ('class A { String s = """\n} public class B {\n"""; }\npublic enum C { X }', "C"),
        ("class Main { public class Node {} public static class Edge {} }", None),
        ('@SuppressWarnings({"unchecked", "public class X"})\npublic class Y {}', "Y"),
        ("public strictfp abstract class Z {}", "Z"),
        ("public record Point(int x, int y) {}", "Point"),
        ("public sealed interface Shape permits A {}\nfinal class A implements Shape {}", "Shape"),
        ("class Public { }", None),
        ("", None),
    ],
)
def test_the_public_class_of_a_java_source(source, name):
    assert public_class(source) == name


def test_java_without_public_class_and_in_a_package(judge):
    program = (
        "package a;\nclass Helper { int one() { return 1; } }\nclass Run { "
        "public static void main(String[] a) "
    )
    program += "{ System.out.println(new Helper().one()); } }"
    if "java" in HERE:
        assert judge("java", program, ("", "1")).verdict == "accepted"


def test_standard_input_is_a_seekable_file(judge):
    program = (
        "import os\nprint(len(os.read(0, os.fstat(0).st_size)))\nos.lseek(0, 0, "
        "0)\nprint(open('/dev/stdin').read())"
    )
    assert judge("python3", program, ("12345678", "8 12345678")).verdict == "accepted"


def test_python_is_complete(judge):
    """It has all that an interpreter started with -S could lack, and shares nothing between tests."""
    program = """
import sys, dataclasses, threading, collections, typing, random, decimal
@dataclasses.dataclass
class Point:
    x: int
out = open(1, "w", closefd=False)
out.write(f"{__name__} {Point(1)} {sys.argv} {sys.flags.utf8_mode} ")
collections.marker = getattr(collections, "marker", 0) + 1
out.write(f"{collections.marker} ")
result = []
thread = threading.Thread(target=lambda: result.append(input()))
thread.start(); thread.join()
out.write(result[0])
exit()
"""
    expected = "__main__ Point(x=1) ['/program/main.py'] 1 1 hé"
    judgement = judge("python3", program, ("hé", expected), ("hé", expected))
    assert judgement.verdict == "accepted", judgement


def test_streams_of_the_programs_own_are_flushed_while_its_globals_are_there(judge):
    program = """
import io, os, sys
class Fast(io.IOBase):
    def __init__(self):
        self.text = []
        self.write = self.text.append
    def flush(self):
        os.write(1, "".join(self.text).encode())
        self.text.clear()
sys.stdout = Fast()
print("late")
"""
    assert judge("python3", program, ("", "late")).verdict == "accepted"


def test_files_left_open_are_flushed(judge):
    assert (
        judge(
            "python3", "import os\nout = os.fdopen(os.dup(1), 'w')\nout.write('kept')", ("", "kept")
        ).verdict
        == "accepted"
    )


@pytest.mark.parametrize("objects", [0, 200_000], ids=["young", "old"])
def test_files_held_by_cycles_are_flushed(judge, objects):
    """With many objects after it, the file is in the oldest generation when the program ends."""
    program = f"""
import os
class Node: pass
node = Node()
node.self, node.file = node, os.fdopen(os.dup(1), "w")
node.file.write("kept")
objects = [[number] for number in range({objects})]
"""
    assert judge("python3", program, ("", "kept")).verdict == "accepted"


def test_exit_statuses_of_python(judge):
    assert judge("python3", "import sys; sys.exit()", ("", "")).verdict == "accepted"
    assert judge("python3", "raise SystemExit(0)", ("", "")).verdict == "accepted"
    failed = judge("python3", "import sys; sys.exit('sorry')", ("", ""))
    assert (failed.verdict, failed.tests[0].exit_code, failed.tests[0].detail) == (
        "runtime_error",
        1,
        "exit code 1; sorry",
    )


def test_without_an_expected_output_a_normal_exit_is_accepted(judge):
    assert judge("python3", "print('anything')", ("", None)).verdict == "accepted"
    assert judge("python3", "1/0", ("", None)).verdict == "runtime_error"
