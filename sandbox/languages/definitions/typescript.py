"""TypeScript: its types are removed, not checked, and Node.js runs the rest."""

from sandbox.languages.definitions.javascript import NODE, NODE_LIMITS
from sandbox.languages.language import Language

HELLO = """const text: string = require('fs').readFileSync(0, 'utf8');
console.log(`Hello, ${text.trim()}!`);
"""
# Errors of syntax are all that a single file shows: the types of Node.js are a package of their own.
TRANSPILE = """
const [home, source] = process.argv.slice(1), fs = require('fs'), ts = require(home + '/lib/typescript.js');
const text = fs.readFileSync(source, 'utf8');
const options = {target: 'es2020', module: 'commonjs', esModuleInterop: true};
const made = ts.transpileModule(text, {compilerOptions: options, reportDiagnostics: true, fileName: source});
for (const fault of made.diagnostics) {
    const line = fault.file ? ts.getLineAndCharacterOfPosition(fault.file, fault.start).line + 1 : 0;
    console.error(`${source}:${line}: ${ts.flattenDiagnosticMessageText(fault.messageText, ' ')}`);
}
if (made.diagnostics.length) process.exit(1);
fs.writeFileSync('main.js', made.outputText);
""".replace("{", "{{").replace("}", "}}")

LANGUAGES = (
    Language(
        "typescript",
        aliases=("ts", "typescript node"),
        suffixes=(".ts",),
        lexer="braces",
        hello=HELLO,
        source_name="main.ts",
        run=(*NODE, "{program}/main.js"),
        compile=("node", "-e", TRANSPILE, "{home}", "{source}"),
        version=("tsc", "--version"),
        tools=("tsc",),
        **NODE_LIMITS,
    ),
)
