"""Bash, with the system's tools."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "bash",
        aliases=("sh", "shell"),
        suffixes=(".sh", ".bash"),
        hello='read -r name\necho "Hello, $name!"\n',
        source_name="main.sh",
        run=("bash", "{source}"),
        version=("bash", "--version"),
        folders=("/bin", "/usr/bin", "/etc/alternatives"),
    ),
)
