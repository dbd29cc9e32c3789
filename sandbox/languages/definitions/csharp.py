"""C# by Mono."""

from sandbox.languages.language import Language

HELLO = """class Program {
    static void Main() { System.Console.WriteLine("Hello, " + System.Console.ReadLine() + "!"); }
}
"""

LANGUAGES = (
    Language(
        "csharp",
        aliases=(
            "c#", "cs", "c# mono", "mono c#", "ms c#", ".net core c#", "c# .net core", "monocs", "mono",
            ".net c#", "dotnet", "c# 11.0 aot", "c# 13.0 aot",
        ),
        suffixes=(".cs",),
        lexer="braces",
        hello=HELLO,
        source_name="main.cs",
        run=("mono", "{program}/main.exe"),
        compile=(
            "mono", "/usr/lib/mono/4.5/mcs.exe", "-optimize", "-warn:0", "-unsafe", "-r:System.Numerics",
            "-define:ONLINE_JUDGE", "-out:main.exe", "{source}",
        ),
        version=("mcs", "--version"),
        tools=("mcs",),
        folders=("/etc/mono",),
        memory_overhead_mb=64,
        extra_processes=32,
        time_factor=1.5,
        # Mono writes to standard output that it may not set the priority of its threads.
        environment=(("MONO_LOG_DEST", "/dev/null"),),
        compiles_all=True,
        memory_errors=r"System\.OutOfMemoryException|Out of memory|Garbage collector could not allocate",
    ),
)  # fmt: skip
