"""SystemVerilog by Icarus Verilog: simulates the module `tb`, as SandboxFusion and VerilogEval do."""

from sandbox.languages.language import COMPILER_FOLDERS, Language

HELLO = """module tb;
  reg [8*64:1] name;
  integer count;
  initial begin
    count = $fscanf('h8000_0000, "%s", name);
    $display("Hello, %0s!", name);
    $finish;
  end
endmodule
"""

LANGUAGES = (
    Language(
        "verilog",
        aliases=("systemverilog",),
        suffixes=(".sv",),
        lexer="braces",
        hello=HELLO,
        source_name="main.sv",
        run=("vvp", "-n", "{program}/main"),
        compile=(
            "iverilog", "-Wall", "-Winfloop", "-Wno-timescale", "-g2012", "-s", "tb", "-o", "main",
            "{source}",
        ),
        version=("iverilog", "-V"),
        compile_folders=("/bin", *COMPILER_FOLDERS),
    ),
)  # fmt: skip
