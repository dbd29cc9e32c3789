"""The report of a run: one HTML file that holds everything it shows, opens from disk and asks nobody for anything.

`write_report(store, run_folder, target)` writes it. Each module here finds the facts of one part, `charts` draws them, and
`templates/` says them; no fact is worked out in a template.
"""

from pipeline.evaluation.report.runfolder import ReportError
from pipeline.evaluation.report.write import write_report

__all__ = ["ReportError", "write_report"]
