"""The report of a run: one HTML file that holds all it shows, opens from disk and loads nothing.

`write_report(store, run_folder, target)` writes it. Each module collects the facts of one section, `charts`
draws them, and `templates/` show them; templates compute nothing.
"""

from pipeline.evaluation.report.runfolder import ReportError
from pipeline.evaluation.report.write import write_report

__all__ = ["ReportError", "write_report"]
