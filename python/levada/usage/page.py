"""What was used, as a page of buckets.

Law: what is told adds up: every call of the time that was asked for is in one bucket, and in one
page; the first and the last bucket end where the question does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from levada.control.buckets import Span
from levada.usage.query import Question, cursor

if TYPE_CHECKING:
    from levada.control.buckets import Buckets

MS = 1000
# Results that a page has at most, over all its buckets.
RESULTS_MAX = 5000
# Questions that are looked up at once: more of them wait, so that the ledger is never kept waiting.
READERS = 2
# The ledger's columns for what is told of tokens.
TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_cached_tokens": "cached_tokens",
}
# The columns that a question may name.
COLUMNS = {
    "api_key_id": "key",
    "model": "model",
    "project_id": "project",
    "line_item": "model",
    "currency": "currency",
}

Result = dict[str, Any]


class Pages:
    """Answers to questions, from the ledger's rows."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._seats = asyncio.Semaphore(READERS)

    async def page(
        self,
        question: Question,
        told: Mapping[str, str],
        shape: Callable[[Result], Result],
        **only: Sequence[str],
    ) -> Result:
        """One page: `told` has the column of every sum, `shape` makes a result; StoreError."""
        span = Span(
            question.start * MS,
            question.stop * MS,
            question.width * MS,
            tuple(COLUMNS[name] for name in question.group_by if name in COLUMNS),
            tuple(told.values()),
            only,
        )
        async with self._seats:
            rows = await self._buckets.used(span, RESULTS_MAX + 1, question.skip)
        return _page(question, rows, lambda row: shape(_result(row, told, question.group_by)))


def _page(
    question: Question, rows: list[Result], shape: Callable[[Result], Result]
) -> dict[str, Any]:
    width, stop, after = question.width, question.stop, cursor(question.stop, 0)
    begin = question.start - question.start % width
    has_more = stop < question.end
    if len(rows) > RESULTS_MAX:
        # The bucket that the cut goes through goes on in the next page.
        bucket = rows.pop()["bucket"] // MS
        shown = sum(1 for row in rows if row["bucket"] == bucket * MS)
        skip = shown + (question.skip if bucket == begin else 0)
        after, has_more = cursor(max(bucket, question.start), skip), True
        stop = bucket + width if shown else bucket
    results: dict[int, list[Result]] = {first: [] for first in range(begin, stop, width)}
    for row in rows:
        results[row["bucket"] // MS].append(shape(row))
    data = [
        {
            "object": "bucket",
            "start_time": max(first, question.start),
            "end_time": min(first + width, question.end),
            "results": inside,
        }
        for first, inside in results.items()
    ]
    return {
        "object": "page",
        "data": data,
        "has_more": has_more,
        "next_page": after if has_more else None,
    }


def _result(row: Result, told: Mapping[str, str], group_by: Sequence[str]) -> Result:
    """The sums of a row, and what it is grouped by."""
    sums = {name: int(row[column]) for name, column in told.items()}
    groups = {name: row[COLUMNS[name]] for name in group_by if name in COLUMNS}
    return {**sums, "num_model_requests": int(row["calls"]), **groups}
