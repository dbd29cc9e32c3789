"""The report of a run: one self-contained HTML file that opens from disk.

`write_report(store, run_folder, target)` writes it. Each module collects the facts of one section, `charts`
draws them, and `templates/` show them; templates compute nothing.
"""

from pipeline.evaluation.report.runfolder import ReportError
from pipeline.evaluation.report.write import write_report

__all__ = ["ReportError", "write_report"]
