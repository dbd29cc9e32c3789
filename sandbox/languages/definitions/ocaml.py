"""OCaml, compiled to machine code."""

from sandbox.languages.language import COMPILER_FOLDERS, Language

LANGUAGES = (
    Language(
        "ocaml",
        aliases=("ml", "ocamlopt", "objective caml", "caml"),
        suffixes=(".ml",),
        hello='let () = Printf.printf "Hello, %s!\\n" (read_line ())\n',
        source_name="main.ml",
        run=("{program}/main",),
        compile=("ocamlopt", "-O3", "-w", "-a", "unix.cmxa", "str.cmxa", "-o", "main", "{source}"),
        version=("ocamlopt", "-version"),
        compile_folders=("/bin", *COMPILER_FOLDERS),
        compiles_all=True,
        memory_errors=r"Out_of_memory",
    ),
)  # fmt: skip
