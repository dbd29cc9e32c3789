"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One fault. `kind` is log, copy (of a log entry), checkpoint, file, rows, reference or pin; `where` a
    file or a key.
    """

    table: str
    kind: str
    where: str
    what: str


@dataclass
class CheckReport:
    """What was examined, and the faults."""

    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    files: int = 0
    bytes: int = 0
    rows: int = 0
    # Files whose names have no hash: written by another program, or by an older version of this one.
    without_hash: int = 0
    # Files that no commit names, left by writers that were killed; maintenance deletes them.
    uncommitted: int = 0
    # False where damage prevents reading the tables, so that their references cannot be compared.
    references_checked: bool = False

    def add(self, table: str, kind: str, where: object, what: str) -> None:
        self.findings.append(Finding(table, kind, str(where), what))

    def has(self, table: str, *kinds: str) -> bool:
        """Whether a table has a fault of one of these kinds (of any kind, if none is given)."""
        return any(
            finding.table == table and (not kinds or finding.kind in kinds) for finding in self.findings
        )
