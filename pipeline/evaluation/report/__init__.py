"""The report of a run or of several: one self-contained HTML file that opens from disk.

`write_report(store, run_folders, target)` writes it. Each module collects the facts of one section; `charts`
and `step_charts` draw them for a page without scripts, `vega_levels` and `vega_steps` specify the same charts
for the script that is inlined; `templates/` show them and compute nothing.
"""

from pipeline.evaluation.report.links import Explorer
from pipeline.evaluation.report.runfolder import ReportError
from pipeline.evaluation.report.write import write_report

__all__ = ["Explorer", "ReportError", "write_report"]
