"""Perl."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "perl",
        aliases=("pl", "perl5"),
        suffixes=(".pl",),
        hello='my $name = <STDIN>; chomp $name; print "Hello, $name!\\n";\n',
        source_name="main.pl",
        run=("perl", "{source}"),
        version=("perl", "-e", 'print "perl $^V\\n"'),
        folders=("/etc/perl", "/usr/share/perl", "/usr/share/perl5"),
        memory_errors=r"Out of memory",
    ),
)
