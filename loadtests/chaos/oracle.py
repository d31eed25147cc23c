"""The oracle: whether the ledger says of every call what it had to, once; and nothing else.

    python -m loadtests.chaos.oracle FOLDER

Law: it reads logs and the database, and knows the policy; of the gateway it knows nothing.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.chaos import bill, money
from loadtests.chaos.bill import ENGINE, Bill
from loadtests.chaos.evidence import Attempt, Call, Evidence, gather, request_id

Row = dict[str, Any]

ENDPOINTS = {"chat": "chat.completions", "text": "completions", "vectors": "embeddings"}
# What bad input is answered with.
BAD = {"model": 404, "key": 401}
# What a caller may be refused with for what backends do: one of these, and no other.
REFUSED = {400, 429, 502, 503, 504}
ENDS = {
    "complete": {"done"},
    "refused": {"refused"},
    "broken": {"broken", "cut"},
    "left": {"cancelled", "done", "broken", "refused", "cut", "interrupted"},
    "lost": {"interrupted", "cancelled", "done", "broken", "refused", "cut"},
    "hung": {"cancelled", "interrupted", "cut"},
}


@dataclass(slots=True)
class Finding:
    """One thing that is not as it must be."""

    kind: str
    nonce: str
    detail: str


@dataclass(slots=True)
class Verdict:
    """What the oracle has to say."""

    findings: list[Finding] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, kind: str, nonce: str, detail: str) -> None:
        self.findings.append(Finding(kind, nonce, detail))


def judge(evidence: Evidence) -> Verdict:
    """Every call, every row, and what must be quiet at the end."""
    verdict = Verdict()
    found = _match(evidence, verdict)
    sums = Sums()
    for call in evidence.calls:
        attempts = evidence.attempts.get(call.nonce, [])
        verdict.states[call.state] += 1
        rows = found[call.nonce]
        for kind, detail in _call(evidence, call, attempts, rows, sums):
            verdict.add(kind, call.nonce, detail)
    known = {call.nonce for call in evidence.calls}
    for nonce in evidence.attempts.keys() - known:
        verdict.add("stranger", nonce, "a backend was asked for what nobody asked")
    if evidence.strays:
        verdict.add("stray", "", f"{evidence.strays} requests without a script reached a backend")
    for name, value in evidence.gauges.items():
        if value:
            verdict.add("gauge", "", f"{name} is {value:g} when all is quiet")
    for kind, detail in _calm(evidence):
        verdict.add(kind, "", detail)
    verdict.sources.update(row["source"] for row in evidence.rows)
    verdict.figures = sums.figures(evidence)
    return verdict


def _match(evidence: Evidence, verdict: Verdict) -> dict[str, list[Row]]:
    """The rows of each call; a row that is nobody's is a finding."""
    owners = {call.nonce: call.nonce for call in evidence.calls}
    owners |= {call.seen["id"]: call.nonce for call in evidence.calls if call.seen["id"]}
    for nonce, attempts in evidence.attempts.items():
        owners |= {request_id(one): nonce for one in attempts if one.id}
    # Calls of which nobody ever told an id: they may have a row that has cost nothing.
    silent = Counter(
        (evidence.keys[call.made["key"]], call.made["model"])
        for call in evidence.calls
        if _is_silent(call) and call.nonce not in evidence.attempts
    )
    found: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.rows:
        owner = owners.get(row["request_id"])
        if owner is not None:
            found[owner].append(row)
            continue
        place = (row["key"], row["model"])
        if silent[place] and not row["input_tokens"] and not row["output_tokens"]:
            silent[place] -= 1
        else:
            verdict.add("phantom", row["request_id"], f"a row of no call: {_told(row)}")
    return found


def _is_silent(call: Call) -> bool:
    return not call.made["own_id"] and not call.seen["id"] and call.state in ("left", "lost")


def _told(row: Row) -> str:
    names = ("ended", "source", "input_tokens", "output_tokens", "cached_tokens", "status")
    return " ".join(f"{name}={row[name]}" for name in names)


def _call(
    evidence: Evidence, call: Call, attempts: list[Attempt], rows: list[Row], sums: Sums
) -> Iterator[tuple[str, str]]:
    yield from _caller(evidence, call)
    if len(rows) > 1:
        yield "doubled", "; ".join(map(_told, rows))
    if call.state == "unsent" or call.made["bad"] or call.made["leaves"] == "body":
        if attempts or rows:
            yield "admitted", f"{len(attempts)} attempts and {len(rows)} rows of what is not a call"
        return
    if call.state == "complete" and not attempts:
        yield "invented", "an answer that no backend gave"
        return
    if not rows:
        if attempts:
            yield "lost", f"no row; {call.state}, delivered {call.delivered}"
        return
    if rows[0]["key"] != evidence.keys[call.made["key"]]:
        yield "names", f"row says {rows[0]['key']}"
    yield from _row(call, attempts, rows[0], sums)


def _caller(evidence: Evidence, call: Call) -> Iterator[tuple[str, str]]:
    """What is wrong with what the caller saw, whatever it cost."""
    yield from (("crosstalk", wrong) for wrong in call.seen["wrong"][:3])
    if call.state == "hung":
        yield "hung", "no end in time"
    if call.state == "lost" and not evidence.died(call.since, call.ended):
        yield "cut", "the connection ended without a word, and nobody had died"
    if call.state == "refused":
        bad, status = call.made["bad"], call.seen["status"]
        if status not in ({BAD.get(bad, 400)} if bad else REFUSED):
            yield "status", f"refused with {status} {call.seen['code']} {bad and f'({bad})'}"


def _row(call: Call, attempts: list[Attempt], row: Row, sums: Sums) -> Iterator[tuple[str, str]]:
    endpoint = ENDPOINTS[call.made["kind"]]
    stream = bool(call.made["stream"])
    if (row["model"], row["endpoint"], bool(row["stream"])) != (
        call.made["model"],
        endpoint,
        stream,
    ):
        yield "names", f"row says {row['model']} {row['endpoint']} stream={row['stream']}"
    if row["ended"] not in ENDS[call.state]:
        yield "ended", f"{row['ended']}, and the caller's is {call.state}"
    if call.state in ("complete", "refused") and row["status"] != call.seen["status"]:
        yield "status", f"row says {row['status']}, the caller saw {call.seen['status']}"
    if not attempts:
        if row["input_tokens"] or row["output_tokens"]:
            yield "tokens", f"billed without a backend: {_told(row)}"
        return
    if call.state == "complete":
        yield from _complete(call, attempts, row)
    outside = call.ended if call.state in ("left", "lost", "hung") else 0.0
    owed = bill.of(call, attempts, outside)
    sums.take(call, owed, row, attempts)
    rated, amount = money.owed(row)
    if (row["rating"], row["amount"]) != (rated, amount):
        yield "money", f"{row['rating']} {row['amount']}, not {rated} {amount}: {_told(row)}"
    for problem in amounts(owed, row):
        yield "tokens", f"{problem}: {_told(row)}; owed {owed}; delivered {call.delivered}"


def _complete(call: Call, attempts: list[Attempt], row: Row) -> Iterator[tuple[str, str]]:
    parts = bill.last(attempts)
    if not all(part.whole for part in parts):
        yield "faked", f"told complete; its backends ended {[part.end for part in parts]}"
    generated = sum(part.generated for part in parts)
    if call.delivered != generated:
        yield "torn", f"{call.delivered} of {generated} tokens in a complete answer"
    usage = call.seen["usage"]
    asked = call.made["include"] or not call.made["stream"]
    if usage and not asked:
        yield "unasked", "usage was told to a caller who had not asked"
    told = all(bill.final(part) for part in parts)
    if asked and told and not usage:
        yield "untold", "the caller asked for usage and got none"
    if usage and told:
        seen = usage["prompt_tokens"], usage.get("completion_tokens", 0)
        if seen != (row["input_tokens"], row["output_tokens"]):
            yield "shown", f"the caller was told {seen}, the ledger {_told(row)}"


def amounts(owed: Bill, row: Row) -> Iterator[str]:
    """What is wrong with the numbers of a row."""
    out = row["output_tokens"]
    if owed.free:
        if row["input_tokens"] or out:
            yield "nothing was owed"
    elif not owed.judged:
        if row["source"] == "engine_running":
            yield "a part was taken for the whole"
        if not out and owed.events[0]:
            yield "tokens were delivered, and none billed"
    elif row["source"] not in ENGINE:
        yield from _uncounted(owed, row)
    elif not owed.told:
        yield "no engine told a count"
    else:
        yield from _counted(owed, row)


def _counted(owed: Bill, row: Row) -> Iterator[str]:
    """An engine's count: it must be one of those that were told, and none but the right one."""
    put, out = row["input_tokens"], row["output_tokens"]
    if not owed.least <= out <= owed.most:
        yield f"output not in [{owed.least}, {owed.most}]"
    elif out and out not in owed.told:
        yield "output that was never told"
    free = row["ended"] in ("broken", "refused")
    if put != owed.prompt and (out or put or (owed.exact and owed.most and not free)):
        yield f"input is not {owed.prompt}"
    if put and row["cached_tokens"] != owed.cached:
        yield f"cached is not {owed.cached}"
    if owed.reasoning is not None and row["reasoning_tokens"] != owed.reasoning:
        yield f"reasoning is not {owed.reasoning}"


def _uncounted(owed: Bill, row: Row) -> Iterator[str]:
    """No engine's count: one was not told, or had not come."""
    least, most = owed.events
    out = row["output_tokens"]
    if owed.least:
        yield "a count was told, and not used"
    elif row["source"] == "estimated" and not least <= out <= most:
        yield f"events not in [{least}, {most}]"
    elif not out and least:
        yield "tokens were delivered, and none billed"


def _calm(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Calls after the storm: all are answered, and the counters say what the ledger says."""
    if not evidence.calm:
        return
    ids = {call.nonce for call in evidence.calls if call.nonce.startswith("ccalm")}
    states = Counter(call.state for call in evidence.calls if call.nonce in ids)
    if states.keys() - {"complete"}:
        yield "calm", f"after the storm: {dict(states)}"
    rows = [row for row in evidence.rows if row["request_id"] in ids]
    counted = {
        "done": len([row for row in rows if row["ended"] == "done"]),
        "prompt": sum(row["input_tokens"] for row in rows),
        "completion": sum(row["output_tokens"] for row in rows),
    }
    if counted != evidence.calm:
        yield "counters", f"metrics say {evidence.calm}, the ledger {counted}"


class Sums:
    """What was owed and what was billed, all together."""

    def __init__(self) -> None:
        self.exact: Counter[tuple[str, str]] = Counter()
        self.least = self.most = self.billed = self.open = self.untold = 0
        self.behind: list[int] = []
        self.slow: list[float] = []

    def take(self, call: Call, owed: Bill, row: Row, attempts: list[Attempt]) -> None:
        out = row["output_tokens"]
        self.untold += row["source"] == "none" and call.delivered > 0
        whole = owed.most or call.state == "complete"
        if owed.free or (owed.exact and owed.told and whole):
            due = 0 if owed.free else owed.prompt + owed.most
            place = (row["key"], row["model"])
            self.exact[place] += row["input_tokens"] + out - due
            return
        self.open += 1
        if owed.judged and owed.told:
            self.least, self.most = self.least + owed.least, self.most + owed.most
            self.billed += out
            if call.state == "lost" and row["ended"] == "interrupted":
                self.behind.append(sum(count > out for count in owed.told))
        gone = [one.ended - call.ended for one in attempts if one.end == "gone"]
        if call.state == "left" and gone:
            self.slow.append(max(gone))

    def figures(self, evidence: Evidence) -> dict[str, Any]:
        slow, behind = sorted(self.slow), sorted(self.behind)
        return {
            "rows": len(evidence.rows),
            "amount_micro": sum(row["amount"] or 0 for row in evidence.rows),
            "input_tokens": sum(row["input_tokens"] for row in evidence.rows),
            "output_tokens": sum(row["output_tokens"] for row in evidence.rows),
            "difference_of_exact_bills": sum(map(abs, self.exact.values())),
            "open_bills": self.open,
            "delivered_and_nothing_known": self.untold,
            "open_least_billed_most": [self.least, self.billed, self.most],
            "interrupted": len(behind),
            "interrupted_chunks_behind_generated": _at(behind),
            "seconds_from_leaving_to_backend": _at(slow),
            "ended": dict(Counter(row["ended"] for row in evidence.rows)),
        }


def _at(values: list[Any]) -> dict[str, Any]:
    if not values:
        return {}
    last = len(values) - 1
    told = {"p50": values[last // 2], "p99": values[last * 99 // 100], "max": values[-1]}
    return {name: round(value, 4) for name, value in told.items()}


def main() -> int:
    """Judges a folder again."""
    verdict = judge(gather(Path(sys.argv[1])))
    for finding in verdict.findings:
        print(f"{finding.kind} {finding.nonce}: {finding.detail}")
    print(verdict.figures)
    return 1 if verdict.findings else 0


if __name__ == "__main__":
    sys.exit(main())
