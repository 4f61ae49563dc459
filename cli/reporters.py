"""The reporter that draws a report in the form that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forkpoint.cli.options import ReportFormat

if TYPE_CHECKING:
    from forkpoint.analysis.scope import Filters
    from forkpoint.analysis.store import Store
    from forkpoint.cli.answer import Reporter


def html_reporter(
    store: Store,
    paths: Sequence[Path],
    filters: Filters,
    prices: Path | None,
    rules: Path | None,
) -> Reporter:
    """The HTML page, which shows more than a report holds: the tree, the runs, what to do."""
    from forkpoint.analysis.report_details import build_details
    from forkpoint.cli.html_report import HtmlReporter

    details = build_details(store, paths, filters=filters, prices=prices, rules=rules)
    return HtmlReporter(details)


def reporter_of(form: ReportFormat, named_store: str | None) -> Reporter:
    """What draws a report in any form but HTML, for which there is `html_reporter`.

    Args:
        named_store: the store as the commands that a table suggests must name it.
    """
    # Each is imported when it is asked for: JSON does not wait for the libraries of tables.
    if form is ReportFormat.JSON:
        from forkpoint.cli.json_report import JsonReporter

        return JsonReporter()
    if form is ReportFormat.CSV:
        from forkpoint.cli.csv_report import CsvReporter

        return CsvReporter()
    if form is ReportFormat.MD:
        from forkpoint.cli.markdown_report import MarkdownReporter

        return MarkdownReporter()
    from forkpoint.cli.table import TableReporter

    return TableReporter(store=named_store)
