"""Haskell by GHC."""

from sandbox.languages.language import COMPILER_FOLDERS, Language

LANGUAGES = (
    Language(
        "haskell",
        aliases=("hs", "hask", "ghc", "haskell ghc"),
        suffixes=(".hs",),
        hello='main :: IO ()\nmain = getLine >>= \\name -> putStrLn ("Hello, " ++ name ++ "!")\n',
        source_name="Main.hs",
        run=("{program}/main",),
        compile=("ghc", "-O2", "-w", "-outputdir", "/dev/shm", "-o", "main", "{source}"),
        version=("ghc", "--version"),
        compile_folders=("/bin", "/var/lib/ghc", *COMPILER_FOLDERS),
        extra_processes=8,
        compiles_all=True,
        memory_errors=r"heap overflow|out of memory",
    ),
)
