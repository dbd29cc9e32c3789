"""Java. The source file is named after its public class; the class files say where `main` is."""

from dataclasses import replace
from typing import Any

from sandbox.languages.java_classes import main_class, public_class
from sandbox.languages.language import Language

HELLO = """import java.util.Scanner;
public class Main {
    public static void main(String[] arguments) {
        System.out.println("Hello, " + new Scanner(System.in).next() + "!");
    }
}
"""
# Shared with the other languages of the Java virtual machine.
JVM_OPTIONS = (
    "-Xss64m", "-Xms16m", "-Xmx{heap_mb}m", "-XX:MaxNewSize={young_mb}m", "-XX:+UseSerialGC",
    "-XX:-UsePerfData", "-XX:TieredStopAtLevel=4", "-XX:CICompilerCount=2", "-Xshare:auto",
    "-DONLINE_JUDGE=true",
)  # fmt: skip
JVM_COMPILER_OPTIONS = ("-Xss64m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:-UsePerfData")
JVM_LIMITS: dict[str, Any] = {
    "memory_overhead_mb": 256,
    "extra_processes": 32,
    "time_factor": 1.5,
    "memory_errors": r"java\.lang\.OutOfMemoryError(?!: unable to create)",
}


def adapt_java(source: str) -> tuple[str, str]:
    """The source, and the class that names its file."""
    return source, public_class(source) or "Main"


JAVA = Language(
    "java",
    aliases=("java8", "java11", "java17", "java21", "openjdk"),
    suffixes=(".java",),
    lexer="java",
    hello=HELLO,
    source_name="{main}.java",
    run=("java", "-cp", "{program}", *JVM_OPTIONS, "{main}"),
    compile=(
        "javac", "-encoding", "UTF-8", "-nowarn", "-proc:none",
        *(f"-J{option}" for option in JVM_COMPILER_OPTIONS), "-d", ".", "{source}",
    ),
    version=("javac", "-version"),
    folders=("/etc/java*",),
    **JVM_LIMITS,
    compiles_all=True,
    keeps_folders=True,
    adapt_source=adapt_java,
    find_main=main_class,
)  # fmt: skip
JUNIT_JARS = tuple(
    f"/usr/share/java/{name}.jar"
    for name in (
        "junit-jupiter-api", "junit-jupiter-engine", "junit-jupiter-params", "junit-platform-commons",
        "junit-platform-console", "junit-platform-engine", "junit-platform-launcher",
        "junit-platform-reporting", "opentest4j", "opentest4j-reporting-events", "apiguardian-api", "picocli",
        "univocity-parsers",
    )
)  # fmt: skip
JUNIT_HELLO = """import org.junit.jupiter.api.Test;
public class Tests {
    @Test void hello() {
        System.out.println("Hello, " + new java.util.Scanner(System.in).next() + "!");
        Runtime.getRuntime().halt(0);
    }
}
"""
LANGUAGES = (
    JAVA,
    # As SandboxFusion runs Java: its tests are assertions.
    replace(
        JAVA, name="java_assertions", aliases=(), suffixes=(), variant_of="java",
        run=("java", "-ea", *JAVA.run[1:]),
    ),
    # As SandboxFusion calls programs that are run for their tests.
    replace(
        JAVA, name="junit", aliases=("junit5",), suffixes=(), variant_of="java", hello=JUNIT_HELLO,
        compile=(*JAVA.compile[:-1], "-cp", ":".join(JUNIT_JARS), "{source}"),
        run=(
            "java", "-cp", ":".join(JUNIT_JARS), *JVM_OPTIONS,
            "org.junit.platform.console.ConsoleLauncher", "--disable-banner", "--disable-ansi-colors",
            "--class-path", "{program}", "--scan-class-path", "{program}",
        ),
        folders=(*JAVA.folders, "/usr/share/java"), needs=JUNIT_JARS, find_main=None,
    ),
)  # fmt: skip
