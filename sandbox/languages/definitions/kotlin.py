"""Kotlin on the Java virtual machine."""

from sandbox.languages.definitions.java import JVM_COMPILER_OPTIONS, JVM_LIMITS, JVM_OPTIONS
from sandbox.languages.java_classes import main_class
from sandbox.languages.language import Language

COMPILER = (
    "-cp", "{home}/lib/kotlin-preloader.jar", "org.jetbrains.kotlin.preloading.Preloader",
    "-cp", "{home}/lib/kotlin-compiler.jar", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
)  # fmt: skip
LIBRARY = "{home}/lib/kotlin-stdlib.jar"

LANGUAGES = (
    Language(
        "kotlin",
        aliases=("kt", "ktln", "kotlin/jvm", "kotlin-jvm"),
        suffixes=(".kt",),
        lexer="braces",
        hello='fun main() { println("Hello, ${readLine()}!") }\n',
        source_name="Main.kt",
        run=("java", "-cp", f"{{program}}:{LIBRARY}", *JVM_OPTIONS, "{main}"),
        compile=(
            "java", *JVM_COMPILER_OPTIONS, *COMPILER, "-nowarn", "-no-reflect", "-d", ".", "{source}",
        ),
        version=("kotlinc", "-version"),
        tools=("kotlinc",),
        folders=("/etc/java*",),
        compiles_all=True,
        keeps_folders=True,
        find_main=main_class,
        **JVM_LIMITS,
    ),
    # As SandboxFusion calls programs without `main`. They are compiled when they run.
    Language(
        "kotlin_script",
        aliases=("kts",),
        lexer="braces",
        variant_of="kotlin",
        hello='println("Hello, ${readLine()}!")\n',
        source_name="script.kts",
        run=(
            "java", *JVM_OPTIONS, *COMPILER, "-kotlin-home", "{home}", "-nowarn", "-script", "{source}",
        ),
        version=("kotlinc", "-version"),
        tools=("kotlinc",),
        folders=("/etc/java*",),
        **JVM_LIMITS | {"memory_overhead_mb": 512, "time_factor": 4.0},
    ),
)  # fmt: skip
