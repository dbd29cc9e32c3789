"""Java. The source file is named after the class that holds `main`."""

import re

from sandbox.languages.language import Language

HELLO = """public class Main {
    public static void main(String[] arguments) { System.out.println("Hello, world!"); }
}
"""


def adapt_java(source: str) -> tuple[str, str]:
    """The source without its package, which would need folders, and the class that names its file."""
    source = re.sub(r"^\s*package\s+[\w.]+\s*;", "", source, count=1, flags=re.M)
    public = re.search(r"\bpublic\s+(?:final\s+|abstract\s+|strictfp\s+)*class\s+(\w+)", source)
    if public:
        return source, public.group(1)
    main = re.search(r"\bstatic\s+(?:\w+\s+)*void\s+main\b", source)
    classes = re.findall(
        r"^\s*(?:\w+\s+)*class\s+(\w+)", source[: main.start()] if main else source, flags=re.M
    )
    return source, classes[-1] if classes else "Main"


LANGUAGES = (
    Language(
        "java",
        aliases=("java8", "java11", "java17", "java21", "openjdk"),
        suffixes=(".java",),
        lexer="java",
        hello=HELLO,
        source_name="{main}.java",
        run=(
            "java", "-cp", "{program}", "-Xss64m", "-Xms16m", "-Xmx{memory_mb}m", "-XX:+UseSerialGC",
            "-XX:-UsePerfData", "-XX:TieredStopAtLevel=4", "-XX:CICompilerCount=2", "-Xshare:auto",
            "-DONLINE_JUDGE=true", "{main}",
        ),
        compile=(
            "javac", "-encoding", "UTF-8", "-nowarn", "-proc:none", "-J-Xss64m", "-J-Xmx768m",
            "-J-XX:+UseSerialGC", "-J-XX:-UsePerfData", "-d", ".", "{source}",
        ),
        version=("javac", "-version"),
        folders=("/etc/java*",),
        memory_overhead_mb=256,
        extra_processes=32,
        time_factor=1.5,
        adapt_source=adapt_java,
    ),
)  # fmt: skip
