"""The rows as a table for people, as JSON, and as JUnit's XML.

Pure: texts made of rows. Nothing is coloured, so that a report reads the same in a log.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from levada.probe.rows import Outcome, Row

# What comes first is what somebody must look at.
ORDER = (Outcome.broken, Outcome.untestable, Outcome.held)
# A character that no XML 1.0 document may hold, escaped or not.
FORBIDDEN = {code: "�" for code in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)}


def summary(rows: list[Row]) -> str:
    """`112 held, 0 broken, 9 not testable`"""
    count = Counter(row.outcome for row in rows)
    return ", ".join(f"{count[one]} {one}" for one in (Outcome.held, Outcome.broken, ORDER[1]))


def table(rows: list[Row]) -> str:
    """BrokenError rows first, each with what was asked and answered; the summary last."""
    ordered = sorted(rows, key=lambda row: ORDER.index(row.outcome))
    wide = max((len(row.id) for row in rows), default=0)
    lines = []
    for row in ordered:
        why = f": {row.why}" if row.why else ""
        lines.append(f"{row.outcome:<12}  {row.id:<{wide}}  {row.what}{why}")
        if row.outcome is Outcome.broken:
            lines += [f"    {line}" for line in _exchange(row)]
    return "\n".join([*lines, "", summary(rows)])


def as_json(rows: list[Row]) -> str:
    """A list of the rows."""
    return json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)


def junit(rows: list[Row]) -> str:
    """One test case for each row."""
    count = Counter(row.outcome for row in rows)
    suite = Element("testsuite", name="levada probe", tests=str(len(rows)), errors="0")
    suite.set("failures", str(count[Outcome.broken]))
    suite.set("skipped", str(count[Outcome.untestable]))
    for row in rows:
        case = SubElement(suite, "testcase", classname="probe", name=f"{row.id}: {row.what}")
        if row.outcome is Outcome.untestable:
            SubElement(case, "skipped", message=_plain(row.why))
        elif row.outcome is Outcome.broken:
            failure = SubElement(case, "failure", message=_plain(row.why))
            failure.text = _plain("\n".join(_exchange(row)))
    indent(suite)
    return tostring(suite, encoding="unicode", xml_declaration=True)


def _exchange(row: Row) -> list[str]:
    """What was asked and what came back, each on a line."""
    lines = []
    if row.request is not None:
        asked = row.request
        lines.append(f"request: {asked['method']} {asked['path']} {_line(asked['body'])}".rstrip())
    if row.answer is not None:
        lines.append(f"answer: {row.answer['status']} {_line(row.answer['body'])}".rstrip())
    return lines


def _line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    return text.translate(FORBIDDEN)
