"""Languages that sources bring and the store keeps, but that have no tool chain here yet."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "csharp",
        aliases=("c#", "cs", "c# mono", "mono c#", "ms c#", ".net core c#", "monocs"),
        suffixes=(".cs",),
        lexer="braces",
        hello='class Program { static void Main() { System.Console.WriteLine("Hello, world!"); } }\n',
    ),
    Language(
        "haskell",
        aliases=("hs", "hask", "ghc", "haskell ghc"),
        suffixes=(".hs",),
        hello='main :: IO ()\nmain = putStrLn "Hello, world!"\n',
    ),
    Language(
        "kotlin",
        aliases=("kt", "ktln"),
        suffixes=(".kt",),
        lexer="braces",
        hello='fun main() { println("Hello, world!") }\n',
    ),
    Language(
        "pascal",
        aliases=("pas", "fpc", "free pascal", "freepascal", "pas fpc", "pas gpc", "delphi", "pascalabc.net"),
        suffixes=(".pas",),
        fences=("pascal", "objectpascal"),
        hello="begin writeln('Hello, world!'); end.\n",
    ),
    Language("php", suffixes=(".php",), lexer="php", hello="<?php echo 'Hello, world!';\n"),
    Language("ruby", aliases=("rb",), suffixes=(".rb",), hello="puts 'Hello, world!'\n"),
    Language(
        "scala",
        suffixes=(".scala",),
        lexer="braces",
        hello='object Main { def main(arguments: Array[String]): Unit = println("Hello, world!") }\n',
    ),
)
