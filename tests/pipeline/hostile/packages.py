"""Problem packages and folders of programs."""

import os
import socket
import stat
import warnings
import zipfile
from pathlib import Path

from hostile.attack import PACKAGE, Attack, fifo, hole, link, package, secret_file, write

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
OUT = "a link that leads out of the source"
ATTACKS: list[Attack] = []


def attack(name, *, good=0, reason=None, adapter="kattis", **more):
    """A decorator: the function fills the folder."""

    def add(make):
        ATTACKS.append(Attack(f"{adapter}: {name}", adapter, make, good, reason, **more))
        return make

    return add


def with_files(name, reason, good=0, **files):
    """A package with other files than the usual ones, beside a good package."""

    @attack(name, reason=reason, good=good + 1)
    def make(folder):
        package(folder, "good")
        package(folder, "p", {path.replace("__", "/"): content for path, content in files.items()})


def with_link(name, path, reason=OUT, good=0, target=None):
    """A package with a link to a file outside of the source, beside a good package."""

    @attack(name, reason=reason, good=good + 1)
    def make(folder):
        package(folder, "good")
        link(package(folder) / path, target or secret_file(folder))


YAML, TEX = "problem.yaml", "problem_statement/problem.en.tex"
with_files("nine levels of YAML aliases", "more than 20,000 values", **{YAML: BOMB + "name: *a8\n"})
with_files("200,000 brackets of YAML", "nested deeper than 32", **{YAML: "name: " + "[" * 200_000})
with_files("200,000 dashes of YAML", "nested deeper than 32", **{YAML: "- " * 100_000})
with_files("a YAML alias inside of itself", "inside its own anchor", **{YAML: "name: &a [*a]\n"})
with_files(
    "a YAML tag that makes an object",
    "could not determine a constructor",
    **{YAML: "name: !!python/object/apply:os.getcwd []\n"},
)
with_files("a YAML number in base 60", "a number of more than", **{YAML: "name: " + "1:" * 50_000 + "1\n"})
with_files("a YAML file of 64 MiB", "a file of more than", **{YAML: "name: N\n#" + "x" * (64 << 20)})
with_files("a YAML file that is not UTF-8", "is not UTF-8", **{YAML: b"name: \xe9\n"})
with_files("YAML with escape sequences", "problem package cannot be read", **{YAML: "name: \x1b[31mred\n"})
with_files("limits that are lists", "problem package cannot be read", **{YAML: "name: N\nlimits: [1]\n"})
with_files("an infinite memory limit", "limits.memory is inf", **{YAML: "limits: {memory: .inf}\n"})
with_files(
    "a time limit that is no number", "limits.time_limit is nan", **{YAML: "limits: {time_limit: .nan}\n"}
)
with_files(
    "flags that are objects", "problem package cannot be read", **{YAML: "validator_flags: [{a: 1}]\n"}
)
with_files("an empty .timelimit", ".timelimit is not a number", **{".timelimit": ""})
with_files("a .timelimit of 1e999", ".timelimit is inf", **{".timelimit": "1e999"})
with_files(
    "an ini file of blanks", "a file of more than", **{"domjudge-problem.ini": "a" + " " * 500_000 + "b"}
)
with_files(
    "an ini file without a section", "problem package cannot be read", **{"domjudge-problem.ini": "[[[\n=\n"}
)
with_files("50,000 times \\section{", None, 1, **{TEX: "\\section{" * 50_000})
with_files("50,000 times \\begin{itemize}[", None, 1, **{TEX: "\\begin{itemize}[" * 50_000})
with_files("50,000 empty groups in a title", None, 1, **{TEX: "\\section{" * 9 + "{}" * 50_000})
with_files("a statement that is not UTF-8", "is not UTF-8", **{TEX: b"\xff\xfe"})
with_files("a validator named like an option", "has an unsafe name", **{"output_validators/-o.py": "1"})
with_files("a validator named over two lines", None, 1, **{"output_validators/a\nb.py": "1"})
with_files(
    "a submission named like an escape sequence", None, 2, **{"submissions/accepted/\x1b[2Ja.py": "print(1)"}
)

with_link("an answer links to a file of the host", "data/secret/1.ans")
with_link("an input links to one", "data/secret/2.in")
with_link("the statement links to one", TEX)
with_link("problem.yaml links to one", YAML)
with_link("a submission links to one", "submissions/accepted/a.py", good=1)
with_link("a validator's header links to one", "output_validators/v/h.h")
with_link("the time limit links to one", ".timelimit")
with_link("an attachment links to one", "attachments/x.txt", None, good=1)
with_link("the statement links to /dev/zero", TEX, target="/dev/zero")
with_link("an answer links to /proc/self/environ", "data/secret/1.ans", target="/proc/self/environ")
with_link("an answer links to nothing", "data/secret/1.ans", "a link to a missing file", target="nothing")
with_link("an answer links to itself", "data/secret/1.ans", "a circle of links", target="1.ans")
with_link("a group links to a folder of the host", "data/secret/g", target="/etc")
with_link("a group links to the package", "data/secret/g", "a circle of links", target="../..")
with_link("the submissions are a folder of the host", "submissions", good=1, target="/etc")
with_link("the validators are a folder of the host", "output_validators", target="/etc")
with_link("the tests are a folder of the host", "data/sample", target="/etc")


@attack("a link climbs out through a link inside", good=1, reason=OUT)
def climbing(folder):
    package(folder, "good")
    secret_file(folder)
    root = package(folder)
    link(root / "data" / "up", "../../..")
    link(root / "data" / "secret" / "1.ans", "../up/outside/secret.txt")


@attack("links inside the package are followed", good=2)
def inside(folder):
    root = package(folder)
    write(root / "data" / "store" / "2.in", "2\n")
    write(root / "data" / "store" / "2.ans", "2\n")
    for name in ("2.in", "2.ans"):
        link(root / "data" / "secret" / "g" / name, f"../../store/{name}")
    write(root / "submissions" / "accepted" / "a.py", "print(1)")


@attack("the statement is a FIFO", good=1, reason="a FIFO instead of a file")
def fifo_statement(folder):
    package(folder, "good")
    fifo(package(folder) / TEX)


@attack("problem.yaml is a FIFO", good=1, reason="a FIFO instead of a file")
def fifo_yaml(folder):
    package(folder, "good")
    fifo(package(folder) / YAML)


@attack("an answer is a socket", good=1, reason="a socket instead of a file")
def socket_answer(folder):
    package(folder, "good")
    path = package(folder) / "data" / "secret" / "2.ans"
    where = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(where)


@attack("a submission is a device", good=3, reason="a device instead of a file")
def device(folder):
    package(folder, "good")
    root = package(folder, files={"submissions/accepted/a.py": "print(1)"})
    try:
        os.mknod(root / "submissions" / "accepted" / "z.py", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        link(root / "submissions" / "accepted" / "z.py", "/dev/zero")


@attack("a test of 4 TiB that is a hole", good=1, reason="limit")
def sparse(folder):
    package(folder, "good")
    hole(package(folder) / "data" / "secret" / "1.in", 4 << 40)


@attack("a submission of 4 TiB that is a hole", good=2, reason="with almost no data")
def sparse_submission(folder):
    package(folder, "good")
    hole(package(folder) / "submissions" / "accepted" / "a.py", 4 << 40)


@attack("a folder of 25,000 entries", good=1, reason="more than 20,000 files and folders")
def crowded(folder):
    package(folder, "good")
    first = write(package(folder) / "attachments" / "0", "")
    for number in range(1, 25_000):
        os.link(first, first.with_name(str(number)))


@attack("folders in folders, 200 deep", good=1, reason="deeper than 32 folders")
def deep(folder):
    package(folder, "good")
    write(package(folder) / "data" / "secret" / "/".join(["d"] * 200) / "1.in", "1")


@attack("links to folders that double 30 times", good=1, reason="more than 20,000 files and folders")
def doubling(folder):
    package(folder, "good")
    root = package(folder)
    for number in range(30):
        for name in "ab":
            link(root / f"d{number}" / name, f"../d{number + 1}")
    write(root / "d30" / "x", "")


@attack("a file name that is not UTF-8", good=3, reason="its suffix belongs to no known language")
def odd_names(folder):
    package(folder, "good")
    root = package(folder, files={"submissions/accepted/a.py": "print(1)"})
    with open(os.fsencode(root / "submissions" / "accepted") + b"/\xff\n.txt", "w") as file:
        file.write("x")


@attack("a file that may not be read", good=2, reason="not readable by this user", as_nobody=True)
def unreadable(folder):
    package(folder, "good")
    root = package(folder, files={"submissions/accepted/a.py": "print(1)"})
    (root / "submissions" / "accepted" / "a.py").chmod(0)


@attack("a folder that may not be read", good=1, reason="not readable by this user", as_nobody=True)
def unreadable_folder(folder):
    package(folder, "good")
    (package(folder) / "data" / "secret").chmod(0)


def zipped(path, *members):
    """A package in an archive, and members: (path or ZipInfo, content)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = [(f"p/{name}", content) for name, content in PACKAGE.items()]
    replaced = {member if isinstance(member, str) else member.filename for member, _ in members}
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for member, content in [one for one in given if one[0] not in replaced] + list(members):
            archive.writestr(member, content)
    return path


def link_member(name, target):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member, target


def with_members(name, reason, *members, good=1):
    """An archive with members that harm, beside a good package."""

    @attack(f"an archive with {name}", reason=reason, good=good)
    def make(folder):
        package(folder, "good")
        zipped(folder / "source" / "p.zip", *members)


UNSAFE = "an archive with the unsafe path"
with_members("a path that climbs", UNSAFE, ("p/../../outside/x", "x"))
with_members("an absolute path", UNSAFE, ("/p/problem.yaml", "name: N"))
with_members("a path of 5,000 characters", UNSAFE, ("p/" + "x" * 5000, "x"))
with_members("a path of 100 folders", UNSAFE, ("p/" + "x/" * 100 + "x", "x"))
with_members("a link out of it", OUT, link_member("p/data/secret/1.ans", "/etc/passwd"))
with_members(
    "a link to the folder above",
    "a link to a missing file",
    link_member("p/data/secret/1.ans", "../../../1.ans"),
)
with_members(
    "a link that files are written through",
    "two entries of one name",
    link_member("p/data/up", "../../../.."),
    ("p/data/up/outside/x", "x"),
)
with_members("two files of one name", "two entries of one name", ("p/a", "x"), ("p/a", "y"))
with_members("a file named like a folder", "two entries of one name", ("p/a", "x"), ("p/a/b", "y"))
with_members("600 MiB of zeros", "expands to more bytes", ("p/data/secret/2.in", bytes(600 << 20)))
with_members("20,001 files", "a package of more than", *[(f"p/x/{n}", "") for n in range(20_001)])


@attack("archives that are none, or without a package", good=1, reason="an archive")
def archives(folder):
    package(folder, "good")
    whole = zipped(folder / "outside" / "p.zip").read_bytes()
    write(folder / "source" / "half.zip", whole[: len(whole) // 2])
    write(folder / "source" / "text.kpp", "PK")
    with zipfile.ZipFile(folder / "source" / "empty.zip", "w"):
        pass


@attack("an archive as the source", good=1)
def archive(folder):
    return zipped(folder / "p.zip")


@attack("what macOS leaves in folders", good=2)
def leftovers(folder):
    files = {"submissions/accepted/a.py": "print(1)", "submissions/accepted/._a.py": b"\0\5\x16\7"}
    files |= {"data/secret/._1.in": b"\0\5\x16\7", ".DS_Store": b"\0", "data/.DS_Store": b"\0"}
    package(folder, files=files)


@attack("links to files and folders of the host", adapter="folders", good=1, reason=OUT)
def linked_programs(folder):
    write(folder / "source" / "src" / "p1" / "accepted" / "a.py", "print(1)")
    link(folder / "source" / "src" / "p1" / "accepted" / "b.py", secret_file(folder))
    link(folder / "source" / "src" / "p2", folder / "outside")


@attack("a FIFO among programs", adapter="folders", good=1, reason="a FIFO instead of a file")
def fifo_program(folder):
    write(folder / "source" / "p" / "a.py", "print(1)")
    fifo(folder / "source" / "p" / "b.py")


@attack("a program of 4 TiB that is a hole", adapter="folders", good=1, reason="with almost no data")
def sparse_program(folder):
    write(folder / "source" / "p" / "a.py", "print(1)")
    hole(folder / "source" / "p" / "b.py", 4 << 40)


@attack(
    "the folder is a link to a folder that holds it", adapter="folders", good=1, reason="a circle of links"
)
def circular(folder):
    write(folder / "source" / "p" / "a.py", "print(1)")
    link(folder / "source" / "p" / "again", "..")


@attack("a link inside is followed", adapter="folders", good=2)
def linked_inside(folder):
    write(folder / "source" / "p" / "a.py", "print(1)")
    link(folder / "source" / "q" / "b.py", "../p/a.py")


@attack(
    "names with line ends and escape sequences",
    adapter="folders",
    good=1,
    reason="its suffix belongs to no known language",
)
def named(folder):
    write(folder / "source" / "p\n\x1b[31m" / "a.py", "print(1)")
    write(folder / "source" / "p" / "b\r.tx\x07t", "x")


def cleanup(folder: Path) -> None:
    """Make folders that may not be read removable again."""
    for path in folder.rglob("secret"):
        path.chmod(0o755)
