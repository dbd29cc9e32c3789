"""Pascal by Free Pascal: in its own dialect, or in Delphi's where that refuses the program."""

from sandbox.languages.language import COMPILER_FOLDERS, Language

HELLO = "var name: string;\nbegin readln(name); writeln('Hello, ', name, '!'); end.\n"

LANGUAGES = (
    Language(
        "pascal",
        aliases=(
            "pas", "fpc", "free pascal", "freepascal", "pas fpc", "pas gpc", "delphi", "pascalabc.net",
            "object pascal",
        ),
        suffixes=(".pas", ".pp"),
        fences=("pascal", "objectpascal"),
        hello=HELLO,
        source_name="main.pas",
        run=("{program}/main",),
        compile=(
            "fpc", "-M{standard}", "-O2", "-v0e", "-Sgic", "-dONLINE_JUDGE", "-FU/dev/shm", "-omain",
            "{source}",
        ),
        version=("fpc", "-iV"),
        standards=("fpc", "delphi", "objfpc"),
        compile_folders=("/etc/fpc*", *COMPILER_FOLDERS),
        memory_errors=r"Runtime error 203|EOutOfMemory",
    ),
)  # fmt: skip
