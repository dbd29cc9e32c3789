"""Scala 2 on the Java virtual machine."""

from sandbox.languages.definitions.java import JVM_COMPILER_OPTIONS, JVM_LIMITS, JVM_OPTIONS
from sandbox.languages.java_classes import main_class
from sandbox.languages.language import Language

HELLO = """object Main {
  def main(arguments: Array[String]): Unit = println("Hello, " + scala.io.StdIn.readLine() + "!")
}
"""

LANGUAGES = (
    Language(
        "scala",
        aliases=("scala2",),
        suffixes=(".scala",),
        lexer="braces",
        hello=HELLO,
        source_name="Main.scala",
        run=("java", "-cp", "{program}:{home}/lib/scala-library.jar", *JVM_OPTIONS, "{main}"),
        compile=(
            "java", *JVM_COMPILER_OPTIONS, "-cp", "{home}/lib/*", "scala.tools.nsc.Main", "-nowarn",
            "-cp", "{home}/lib/scala-library.jar", "-d", ".", "{source}",
        ),
        version=("scalac", "-version"),
        tools=("scalac",),
        folders=("/etc/java*",),
        compiles_all=True,
        keeps_folders=True,
        find_main=main_class,
        **JVM_LIMITS,
    ),
)  # fmt: skip
