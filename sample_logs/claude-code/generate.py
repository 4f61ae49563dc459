"""Write three Claude Code sessions of an invented project: ``python generate.py [FOLDER]``.

The project "ferrybook", a small booking service of a ferry line, exists only here: its code, its
people's wishes and all token counts are made up. No clock, no randomness: each run writes the same
bytes. What each session shows is told in README.md.

A token is four characters of what is logged, and each prompt begins with a system prompt and tool
definitions that are not logged. Cache reads and writes are what the provider's published rules give:
an entry at the end of every prompt, alive for 5 minutes (or 1 hour) after its last use, by model.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

OPUS, SONNET = "claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929"
VERSION, CWD, FOLDER = "2.1.284", "/home/dev/ferrybook", "projects/-home-dev-ferrybook"
SYSTEM, AGENT_SYSTEM = ("system", 18_212), ("agent system", 9_387)
LONG_THOUGHT = 1_500
"""Tokens of thinking from which a response has a thinking block."""
FIVE_MINUTES, ONE_HOUR = timedelta(minutes=5), timedelta(hours=1)

Row = dict[str, Any]


# ---- The project -------------------------------------------------------------------------------

SAILINGS = '''"""Sailings: when a ferry leaves, and how many seats it has."""

from dataclasses import dataclass
from datetime import datetime, timedelta

CLOSES_BEFORE = timedelta(minutes=20)


@dataclass(frozen=True)
class Sailing:
    id: int
    route: str
    leaves: datetime
    seats: int
    car_lanes_m: int = 0

    def open_at(self, now: datetime) -> bool:
        """Whether it can still be booked."""
        return now < self.leaves - CLOSES_BEFORE


class Timetable:
    """The season's sailings, by id."""

    def __init__(self, sailings: list[Sailing]) -> None:
        self._by_id = {each.id: each for each in sailings}

    def sailing(self, sailing_id: int) -> Sailing:
        try:
            return self._by_id[sailing_id]
        except KeyError:
            raise UnknownSailing(sailing_id) from None

    def between(self, start: datetime, end: datetime) -> list[Sailing]:
        found = [each for each in self._by_id.values() if start <= each.leaves < end]
        return sorted(found, key=lambda each: each.leaves)


class UnknownSailing(Exception):
    pass
'''
BOOKINGS = '''"""Bookings: seats that somebody has on a sailing."""

from dataclasses import dataclass
from datetime import datetime

from ferrybook.prices import price_of
from ferrybook.sailings import Sailing, Timetable
from ferrybook.storage import Storage


@dataclass(frozen=True)
class Booking:
    id: int
    sailing_id: int
    name: str
    email: str
    seats: int
    paid: float
    made_at: datetime


class Full(Exception):
    """The sailing has not enough free seats."""


class Closed(Exception):
    """The sailing leaves too soon, or has left."""


class Desk:
    """Where bookings are made and cancelled."""

    def __init__(self, timetable: Timetable, storage: Storage) -> None:
        self.timetable, self.storage = timetable, storage

    def free_seats(self, sailing: Sailing) -> int:
        taken = sum(each.seats for each in self.storage.bookings(sailing.id))
        return sailing.seats - taken

    def book(self, sailing_id: int, name: str, email: str, seats: int, now: datetime) -> Booking:
        sailing = self.timetable.sailing(sailing_id)
        if not sailing.open_at(now):
            raise Closed(sailing_id)
        if self.free_seats(sailing) < seats:
            raise Full(sailing_id)
        paid = price_of(sailing, seats, now)
        return self.storage.add(sailing_id, name, email, seats, paid, now)

    def cancel(self, booking_id: int, now: datetime) -> Booking:
        booking = self.storage.booking(booking_id)
        if not self.timetable.sailing(booking.sailing_id).open_at(now):
            raise Closed(booking.sailing_id)
        self.storage.remove(booking_id)
        return booking
'''
STORAGE = '''"""SQLite storage. One connection, one writer; every change is a transaction."""

import sqlite3
from datetime import datetime

SCHEMA = """
CREATE TABLE IF NOT EXISTS bookings (
    id INTEGER PRIMARY KEY, sailing_id INTEGER NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL,
    seats INTEGER NOT NULL CHECK (seats > 0), paid REAL NOT NULL, made_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS bookings_by_sailing ON bookings (sailing_id);
"""


class Storage:
    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path)
        self.db.executescript(SCHEMA)

    def bookings(self, sailing_id: int) -> list["Booking"]:
        rows = self.db.execute("SELECT * FROM bookings WHERE sailing_id = ? ORDER BY id", [sailing_id])
        return [_booking(row) for row in rows]

    def add(self, sailing_id, name, email, seats, paid, now: datetime) -> "Booking":
        with self.db:
            row = self.db.execute(
                "INSERT INTO bookings (sailing_id, name, email, seats, paid, made_at)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
                [sailing_id, name, email, seats, paid, now.isoformat()],
            ).fetchone()
        return _booking(row)

    def remove(self, booking_id: int) -> None:
        with self.db:
            self.db.execute("DELETE FROM bookings WHERE id = ?", [booking_id])
'''
PRICES = '''"""Prices. Early birds pay less, children half, islanders a third."""

from datetime import datetime, timedelta

BASE = {"mainland-north": 12.40, "mainland-south": 14.90, "island-hop": 4.35}
EARLY = timedelta(days=21)


def price_of(sailing, seats: int, now: datetime, children: int = 0, islanders: int = 0) -> float:
    each = BASE[sailing.route]
    if sailing.leaves - now > EARLY:
        each = each * 0.85
    total = each * (seats - children - islanders)
    total += each * 0.5 * children
    total += each / 3 * islanders
    return round(total, 2)


def refund_of(booking, now: datetime) -> float:
    left = booking.sailing.leaves - now
    share = 1.0 if left > timedelta(days=2) else 0.5
    return round(booking.paid * share, 2)


def split_invoice(total: float, payers: int) -> list[float]:
    part = round(total / payers, 2)
    return [part] * payers
'''
ADMIN = '''"""The harbour office's page: one sailing, its bookings, its free seats."""

from ferrybook.bookings import Desk

ROW = "<tr><td>{id}</td><td>{name}</td><td>{seats}</td><td>{paid:.2f}</td></tr>"


def sailing_page(desk: Desk, sailing_id: int) -> str:
    sailing = desk.timetable.sailing(sailing_id)
    rows = [ROW.format(**vars(each)) for each in desk.storage.bookings(sailing_id)]
    return PAGE.format(
        route=sailing.route,
        leaves=sailing.leaves.strftime("%a %d %b, %H:%M"),
        free=desk.free_seats(sailing),
        rows="\\n".join(rows),
    )
'''
WAITING = '''"""The waiting list: who gets the seats that come free, and until when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

HELD_FOR = timedelta(hours=12)


@dataclass(frozen=True)
class Entry:
    id: int
    sailing_id: int
    name: str
    email: str
    seats: int
    joined_at: datetime
    offered_at: datetime | None = None

    def holds_seats(self, now: datetime) -> bool:
        """An offer keeps its seats for twelve hours."""
        return self.offered_at is not None and now < self.offered_at + HELD_FOR


class WaitingList:
    """The entries of all sailings, oldest first."""

    def __init__(self, storage) -> None:
        self.storage = storage

    def join(self, sailing_id: int, name: str, email: str, seats: int, now: datetime) -> Entry:
        return self.storage.add_waiting(sailing_id, name, email, seats, now)

    def held(self, sailing_id: int, now: datetime) -> int:
        """Seats that offers still hold."""
        return sum(each.seats for each in self._entries(sailing_id) if each.holds_seats(now))

    def offer(self, sailing_id: int, free: int, now: datetime) -> list[Entry]:
        """Offer free seats to those who fit, oldest first; returns whom to write to."""
        offered = []
        for entry in self._entries(sailing_id):
            if entry.offered_at is None and entry.seats <= free:
                free -= entry.seats
                offered.append(self.storage.mark_offered(entry.id, now))
        return offered

    def _entries(self, sailing_id: int) -> list[Entry]:
        return self.storage.waiting(sailing_id)
'''
TEST_BOOKINGS = """import pytest

from ferrybook.bookings import Closed, Desk, Full

MORNING = at("2026-10-20 07:00")


def test_a_booking_takes_its_seats(desk):
    desk.book(101, "R. Amberly", "r@example.org", 3, MORNING)
    assert desk.free_seats(desk.timetable.sailing(101)) == 37


def test_a_full_sailing_refuses(desk):
    desk.book(102, "Choir", "choir@example.org", 12, MORNING)
    with pytest.raises(Full):
        desk.book(102, "T. Okafield", "t@example.org", 1, MORNING)


def test_a_sailing_closes_twenty_minutes_before_it_leaves(desk):
    with pytest.raises(Closed):
        desk.book(101, "R. Amberly", "r@example.org", 1, at("2026-10-20 08:41"))


def test_a_cancelled_booking_gives_its_seats_back(desk):
    booking = desk.book(102, "Choir", "choir@example.org", 12, MORNING)
    desk.cancel(booking.id, MORNING)
    assert desk.free_seats(desk.timetable.sailing(102)) == 12
"""
TEST_WAITING = """from ferrybook.waiting import HELD_FOR


def test_the_first_who_fits_is_offered_the_seats(waiting):
    waiting.join(102, "School", "school@example.org", 9, MORNING)
    waiting.join(102, "L. Fenwright", "l@example.org", 2, MORNING)
    assert [each.name for each in waiting.offer(102, 4, MORNING)] == ["L. Fenwright"]


def test_an_offer_holds_its_seats_for_twelve_hours(waiting):
    waiting.join(102, "L. Fenwright", "l@example.org", 2, MORNING)
    waiting.offer(102, 4, MORNING)
    assert waiting.held(102, MORNING) == 2
    assert waiting.held(102, MORNING + HELD_FOR) == 0


def test_a_cancelled_booking_is_offered_to_the_list(desk, waiting, outbox):
    booking = desk.book(102, "Choir", "choir@example.org", 12, MORNING)
    waiting.join(102, "School", "school@example.org", 9, MORNING)
    desk.cancel(booking.id, MORNING)
    assert [each.to for each in outbox] == ["school@example.org"]
"""
CHANGELOG = """# Changelog

## Unreleased

## 0.9.0 - 2026-09-28
- Sailings close 20 minutes before they leave (were 15).
- The harbour office's page shows free seats.

## 0.8.2 - 2026-08-30
- A booking for no seats is refused.
"""
SUMMARY = """This session is being continued from a previous conversation. Summary:

1. Request: prices of island-hop tickets are a cent off. The cause is `price_of`: floats, rounded once
   per party, while the till rounds per ticket.
2. Decided (after a first attempt with Decimal everywhere, which was dropped): integer cents inside
   `ferrybook/prices.py`; euros only at the edges (`admin.py`, mail templates, the import).
3. Done: `price_of`, `refund_of`, `split_invoice` in cents, the last one spreading the remainder;
   `bookings.paid` migrated to `paid_cents`; 96 tests pass, among them a property test that the parts
   of an invoice add up to it.
4. Open: the monthly invoices of September have to be checked against the new sums.
"""


def numbered(source: str) -> str:
    """A file as the Read tool shows it."""
    return "\n".join(f"{n:6d}\t{line}" for n, line in enumerate(source.splitlines(), 1))


def timetable() -> str:
    """The season's CSV, as far as it is printed."""
    rows = ["id,route,leaves,seats,car_lanes_m"]
    routes = (("mainland-north", 240, 180), ("island-hop", 40, 0), ("mainland-south", 180, 120))
    for n in range(156):
        route, seats, lanes = routes[n % 3]
        day, hour, minute = 18 + n // 12, 6 + n % 12, (0, 20, 45)[n * 5 % 3]
        rows.append(f"{101 + n},{route},2026-10-{day:02d} {hour:02d}:{minute:02d},{seats},{lanes}")
    return "\n".join(rows)


SUBJECTS = ("booking", "cancellation", "sailing", "refund", "offer", "import_row", "admin_page")
CLAIMS = (
    "keeps_its_seats", "is_refused_when_closed", "rounds_to_whole_cents", "survives_a_restart",
    "is_listed_by_time", "names_the_route", "is_written_once", "needs_an_address",
    "accepts_the_last_seat", "ignores_other_sailings", "is_logged", "can_be_repeated",
)  # fmt: skip


def tests(count: int, failing: tuple[int, ...] = (), why: str = "") -> str:
    """What a test run prints: every test, or only those that fail."""
    lines = ["============================= test session starts =============================="]
    for n in failing or range(count):
        subject, claim = SUBJECTS[n % len(SUBJECTS)], CLAIMS[n // len(SUBJECTS) % len(CLAIMS)]
        verdict = "FAILED" if n in failing else "PASSED"
        name = f"tests/test_{subject}s.py::test_a_{subject}_{claim}_{n}"
        lines.append(f"{name} {verdict} [{100 * (n + 1) // count:3d}%]")
    if failing:
        lines += [
            "=================================== FAILURES ===================================",
            why,
        ]
    passed = count - len(failing)
    lines.append(f"=== {len(failing)} failed, {passed} passed in 3.{count}s ===")
    return "\n".join(lines)


def quiet(count: int) -> str:
    """What ``pytest -q`` prints when nothing fails."""
    return "\n".join("." * min(72, count - n) for n in range(0, count, 72)) + f"\n{count} passed"


def grep(pattern: str, places: str) -> str:
    """What a search prints: places are "file:line" with the text after a space."""
    return f"Found matches for {pattern!r}\n" + places


# ---- The log -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """One tool call and what it returned."""

    name: str
    input: Row
    result: str
    agent: list[Step] = field(default_factory=list)
    """What a subagent did before it returned that."""


@dataclass(frozen=True)
class Step:
    """One response: hidden thinking (tokens), text, tool calls; then how long until the next."""

    thought: int
    text: str = ""
    uses: tuple[Use, ...] = ()
    took_s: float = 14.0


def read(name: str, source: str) -> Use:
    return Use("Read", {"file_path": f"{CWD}/{name}"}, numbered(source))


def write(name: str, source: str) -> Use:
    done = f"File created successfully at: {CWD}/{name}"
    return Use("Write", {"file_path": f"{CWD}/{name}", "content": source}, done)


def edit(name: str, old: str, new: str) -> Use:
    given = {"file_path": f"{CWD}/{name}", "old_string": old, "new_string": new}
    return Use("Edit", given, f"The file {CWD}/{name} has been updated successfully.")


def bash(command: str, why: str, result: str) -> Use:
    return Use("Bash", {"command": command, "description": why}, result)


def pytest(result: str) -> Use:
    return bash("python -m pytest -v", "Run the tests", result)


def search(pattern: str, places: str) -> Use:
    return Use("Grep", {"pattern": pattern, "output_mode": "content"}, grep(pattern, places))


def tokens(text: str) -> int:
    return -(-len(text) // 4)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _size(block: Row) -> int:
    """What a block adds to later prompts; thinking is billed once and not sent again."""
    return 0 if block["type"] == "thinking" else tokens(block.get("text") or compact(block))


class Names:
    """Identifiers that look random and are the same in every run."""

    def __init__(self, seed: str) -> None:
        self.seed, self.n = seed, 0

    def _digest(self, kind: str) -> bytes:
        self.n += 1
        return hashlib.sha256(f"{self.seed}/{kind}/{self.n}".encode()).digest()

    def uuid(self) -> str:
        return str(UUID(bytes=self._digest("uuid")[:16], version=4))

    def word(self, prefix: str, length: int = 22) -> str:
        letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789"
        number = int.from_bytes(self._digest(prefix), "big")
        found = ""
        for _ in range(length):
            number, letter = divmod(number, len(letters))
            found += letters[letter]
        return prefix + found


@dataclass
class Entry:
    """A cache entry: a prompt's tokens up to a breakpoint, and when it is gone."""

    tokens: int
    expires: datetime


Cache = dict[tuple[str, str], Entry]
"""By model and the last line that the entry covers."""


class Session:
    """A conversation being logged: its lines, its clock and what its next prompt holds."""

    def __init__(
        self,
        session_id: str,
        start: datetime,
        cache: Cache,
        lifetime: timedelta = FIVE_MINUTES,
        agent: str | None = None,
        names: Names | None = None,
    ) -> None:
        self.id, self.now, self.cache, self.lifetime = session_id, start, cache, lifetime
        self.agent = agent
        self.names = names or Names(session_id)
        self.model = OPUS
        self.rows: list[Row] = []
        self.tip: str | None = None
        self.path = [SYSTEM if agent is None else AGENT_SYSTEM]
        """The prompt so far: (line, tokens up to its end)."""
        self.calls = 0
        self.agents: dict[str, Session] = {}
        self.miss_reason: str | None = None

    # -- lines

    def line(self, kind: str, **fields: Any) -> Row:
        """A line at the end of the chain."""
        row: Row = {"parentUuid": self.tip, "isSidechain": self.agent is not None}
        if self.agent is not None:
            row["agentId"] = self.agent
        row |= {"type": kind, **fields}
        row |= {"uuid": self.names.uuid(), "timestamp": self.stamp(), "userType": "external"}
        row |= {"cwd": CWD, "sessionId": self.id, "version": VERSION, "gitBranch": "waiting-list"}
        self.rows.append(row)
        self.tip = row["uuid"]
        return row

    def stamp(self) -> str:
        return self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def note(self, kind: str, **fields: Any) -> None:
        """A line outside the chain."""
        self.rows.append({"type": kind, **fields, "sessionId": self.id})

    def holds(self, row: Row, n_tokens: int) -> None:
        self.path.append((row["uuid"], self.path[-1][1] + n_tokens))

    # -- what people do

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def says(self, text: str) -> Row:
        """The user writes something."""
        row = self.line("user", message={"role": "user", "content": text})
        self.holds(row, tokens(text))
        if self.agent is None:
            snapshot = {"messageId": row["uuid"], "trackedFileBackups": {}}
            self.note("file-history-snapshot", messageId=row["uuid"], snapshot=snapshot)
        self.wait(seconds=3.1)
        return row

    def switches_to(self, model: str) -> None:
        self.line("system", subtype="local_command", content=f"Set model to {model}", level="info")
        self.model, self.miss_reason = model, "model_changed"

    def rewinds_before(self, row: Row) -> None:
        """The user goes back to write that message anew."""
        self.tip = row["parentUuid"]
        held = [line for line, _ in self.path]
        self.path = self.path[: held.index(row["uuid"])]

    def compacts(self, summary: str) -> None:
        metadata = {"trigger": "manual", "preTokens": self.path[-1][1]}
        logical, self.tip = self.tip, None
        self.line(
            "system",
            logicalParentUuid=logical,
            subtype="compact_boundary",
            content="Conversation compacted",
            compactMetadata=metadata,
        )
        row = self.line("user", message={"role": "user", "content": summary}, isCompactSummary=True)
        self.path = self.path[:1]
        self.holds(row, tokens(summary))

    def ends_turn(self) -> None:
        self.line("system", subtype="turn_duration", durationMs=1000 * self.calls, isMeta=False)
        self.wait(seconds=40)

    def does(self, *steps: Step) -> None:
        for step in steps:
            self.respond(step)

    # -- a call

    def usage(self, output: int) -> Row:
        """Look the prompt up in the cache, and put it there."""
        read = 0
        for line, held in self.path:
            entry = self.cache.get((self.model, line))
            if entry is not None and entry.expires > self.now:
                entry.expires = self.now + self.lifetime
                read = held
        line, total = self.path[-1]
        for covered, held in (self.path[0], (line, total)):
            self.cache[self.model, covered] = Entry(held, self.now + self.lifetime)
        written = total - read
        hour = written if self.lifetime == ONE_HOUR else 0
        return {
            "input_tokens": 3 + self.calls * 5 % 8,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written - hour,
                "ephemeral_1h_input_tokens": hour,
            },
            "output_tokens": output,
            "service_tier": "standard",
        }

    def respond(self, step: Step) -> None:
        """Log one response, a line for each block with the output so far, and its tools' results."""
        blocks: list[Row] = []
        if step.thought > LONG_THOUGHT:
            signature = self.names.word("", 40)
            blocks.append({"type": "thinking", "thinking": "", "signature": signature})
        if step.text:
            blocks.append({"type": "text", "text": step.text})
        for use in step.uses:
            name = self.names.word("toolu_01")
            blocks.append({"type": "tool_use", "id": name, "name": use.name, "input": use.input})
        sizes = [_size(block) for block in blocks]
        usage = self.usage(step.thought + sum(sizes))
        message: Row = {
            "model": self.model,
            "id": self.names.word("msg_01"),
            "type": "message",
            "role": "assistant",
            "stop_reason": "tool_use" if step.uses else "end_turn",
        }
        if self.miss_reason is not None:
            missed = {"type": self.miss_reason}
            message["diagnostics"] = {"cache_miss_reason": missed}
            self.miss_reason = None
        request = self.names.word("req_011C", 20)
        logged: list[Row] = []
        for n, block in enumerate(blocks):
            last = n == len(blocks) - 1
            so_far = usage["output_tokens"] if last else 2 + 9 * n
            self.wait(seconds=step.took_s / len(blocks) / 3)
            given = {"content": [block], "usage": usage | {"output_tokens": so_far}}
            logged.append(self.line("assistant", message=message | given, requestId=request))
            self.holds(logged[-1], sizes[n])
        self.calls += 1
        first = len(blocks) - len(step.uses)
        for block, row, use in zip(blocks[first:], logged[first:], step.uses, strict=True):
            self.returns(block, row, use)
        self.wait(seconds=step.took_s)

    def returns(self, block: Row, row: Row, use: Use) -> None:
        """Log a result. It hangs off its own call, whatever was logged in between."""
        summary: Any = {"ok": True}
        if use.agent:
            summary = self.delegate(use)
        self.tip = row["uuid"]
        result = {"tool_use_id": block["id"], "type": "tool_result", "content": use.result}
        answer = self.line(
            "user", message={"role": "user", "content": [result]}, toolUseResult=summary
        )
        self.holds(answer, tokens(use.result))

    def delegate(self, use: Use) -> Row:
        """Run a subagent; its calls stand in a file of their own, a summary of them in this one."""
        name = self.names.word("a", 7).lower()
        agent = Session(self.id, self.now, self.cache, self.lifetime, name, self.names)
        agent.model = SONNET
        agent.says(use.input["prompt"])
        agent.does(*use.agent)
        self.agents[name] = agent
        self.now = agent.now
        last = agent.rows[-1]["message"]["usage"]
        return {"status": "completed", "agentId": name, "totalToolUseCount": 6, "usage": last}

    def resumed(self, session_id: str, calls: int, start: datetime) -> Session:
        """A new session that begins with a copy of this one's first calls."""
        copy = Session(session_id, start, self.cache, self.lifetime)
        seen: dict[str, None] = {}
        for row in self.rows:
            identity = row.get("message", {}).get("id")
            if identity is not None:
                seen.setdefault(identity)
            if len(seen) > calls or row.get("subtype") == "turn_duration":
                break
            copy.rows.append(row | {"sessionId": session_id})
        chained = [row["uuid"] for row in copy.rows if "uuid" in row]
        copy.tip = chained[-1]
        copy.path = [(line, held) for line, held in self.path if line in {SYSTEM[0], *chained}]
        copy.calls = calls
        return copy

    def save(self, folder: Path) -> None:
        files = {folder / f"{self.id}.jsonl": self.rows}
        for name, agent in self.agents.items():
            files[folder / self.id / "subagents" / f"agent-{name}.jsonl"] = agent.rows
        for path, rows in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(f"{compact(row)}\n" for row in rows)
            path.write_text(lines, encoding="utf-8", newline="\n")


# ---- The sessions ------------------------------------------------------------------------------

EXPLORE = """Find every place in the repository where ferrybook decides whether there is room on a
sailing, and every place that changes how much room there is. For each: file, line, what it does, and
whether it goes through Desk.free_seats. Do not change anything. Report as a list, most important
first, and say which of them would have to know about seats that are held but not booked."""
EXPLORED = """Room is decided in three places and changed in four.

Decides:
1. ferrybook/bookings.py:44 Desk.book: refuses with Full if free_seats is less than asked for.
2. ferrybook/admin.py:14 sailing_page: prints free_seats; no decision, but people phone by it.
3. ferrybook/imports.py:61 import_rows: its own sum over the CSV rows, does NOT use free_seats.

Changes:
1. Storage.add (bookings.py:47, imports.py:70)
2. Storage.remove (bookings.py:54 cancel)
3. Timetable: a smaller ferry is swapped in by ferrybook/swap.py:23, which moves nobody.
4. scripts/purge.py:12 deletes bookings of past sailings.

Held seats must count in 1 and 2 of the first list. imports.py should call free_seats first of all."""
IMPORTS = """ferrybook/imports.py:58 def import_rows(desk, rows, now):
ferrybook/imports.py:61     taken = sum(int(row["seats"]) for row in rows)
ferrybook/imports.py:64     if taken > sailing.seats:
ferrybook/imports.py:70         desk.storage.add(sailing.id, row["name"], row["email"], int(row["seats"]), 0, now)
ferrybook/swap.py:23     timetable.replace(sailing, seats=smaller.seats)
scripts/purge.py:12     db.execute("DELETE FROM bookings WHERE sailing_id IN (SELECT id FROM past)")"""
AGENT_STEPS = [
    Step(280, "I'll look for the seat arithmetic first.", (
        search("free_seats|\\.seats", "ferrybook/bookings.py:36 def free_seats(self, sailing)\n" + IMPORTS),
    )),
    Step(160, "", (read("ferrybook/bookings.py", BOOKINGS), read("ferrybook/storage.py", STORAGE))),
    Step(210, "", (search("storage\\.(add|remove)", IMPORTS),)),
    Step(370, "", (read("ferrybook/sailings.py", SAILINGS),)),
    Step(240, "Last, the pages that print it.", (read("ferrybook/admin.py", ADMIN),)),
    Step(750, EXPLORED),
]  # fmt: skip
BOUNCED = """>       assert [each.to for each in outbox] == ["school@example.org"]
E       AssertionError: assert [] == ["school@example.org"]
tests/test_waitings.py:24: AssertionError"""


def waiting_list(cache: Cache) -> Session:
    """A morning's work, a long lunch, and a change of model."""
    main = Session("5c1f7a90-2b64-4e0d-9d37-6a2f0c8e4b11", at(6, 8, 12), cache)
    main.note("permission-mode", permissionMode="acceptEdits")
    main.says(
        "Passengers phone all day because a full sailing just says no. Please add a waiting list: "
        "they can join it for a full sailing, and when somebody cancels, the next in line who fits "
        "gets a mail and twelve hours to take the seats. Look around first, then build it."
    )
    main.does(
        Step(2170, "I'll read the booking desk and the timetable first.", (
            read("ferrybook/bookings.py", BOOKINGS), read("ferrybook/sailings.py", SAILINGS),
        )),
        Step(1540, "A waiting list changes what \"free\" means. I'll have all places found where that "
             "is decided, while I plan the storage.", (
            Use("Agent", {"description": "Find capacity checks", "prompt": EXPLORE,
                          "subagent_type": "Explore"}, EXPLORED, AGENT_STEPS),
        )),
        Step(2680, "", (read("ferrybook/storage.py", STORAGE),
                        read("tests/test_bookings.py", TEST_BOOKINGS))),
        Step(740, "How full do sailings get? The season's timetable will tell which sizes matter.", (
            bash("cat data/timetable_2026_autumn.csv", "Show the timetable", timetable()),
        )),
        Step(4640, "The list gets a module of its own; the desk asks it how many seats are held.", (
            write("ferrybook/waiting.py", WAITING),
        )),
        Step(2060, "", (
            edit("ferrybook/bookings.py", "return sailing.seats - taken",
                 "return sailing.seats - taken - self.waiting.held(sailing.id, self.clock())"),
            edit("ferrybook/bookings.py", "self.storage.remove(booking_id)",
                 "self.storage.remove(booking_id)\n        self.mail.offers(self.waiting.offer("
                 "booking.sailing_id, self.free_seats(sailing), now))"),
        )),
        Step(1680, "", (
            edit("ferrybook/storage.py", "CREATE INDEX IF NOT EXISTS bookings_by_sailing",
                 "CREATE TABLE IF NOT EXISTS waiting (\n    id INTEGER PRIMARY KEY, sailing_id INTEGER "
                 "NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL,\n    seats INTEGER NOT NULL, "
                 "joined_at TEXT NOT NULL, offered_at TEXT\n);\nCREATE INDEX IF NOT EXISTS "
                 "bookings_by_sailing"),
        )),
        Step(2480, "", (write("tests/test_waiting.py", TEST_WAITING),)),
        Step(540, "", (pytest(tests(58)),), took_s=41),
        Step(1220, "The waiting list works: joining, offering to the first who fits, holding the seats "
             "for twelve hours. All 58 tests pass. Two things you should know:\n\n- The import checks "
             "room by itself and knows nothing of held seats. I left it alone.\n- When a smaller ferry "
             "is swapped in, nobody is told, listed or not."),
    )  # fmt: skip
    main.ends_turn()

    main.wait(minutes=47)
    main.says(
        "Back from lunch. The office says: whoever has waited longest must not be passed over just "
        "because the party is large. Offer them what is free and let them decide. And the import must "
        "respect held seats too."
    )
    main.does(
        Step(4160, "So an offer may be smaller than what was asked for. That touches the entry, the "
             "mail and the tests; first the import.", (
            bash("sed -n 50,90p ferrybook/imports.py", "Show the import", IMPORTS),
            read("ferrybook/waiting.py", WAITING),
        )),
        Step(2960, "", (
            edit("ferrybook/waiting.py", "            if entry.offered_at is None and entry.seats <= free:"
                 "\n                free -= entry.seats",
                 "            if entry.offered_at is None and free > 0:\n                seats = min("
                 "entry.seats, free)\n                free -= seats"),
        )),
        Step(1120, "", (
            edit("ferrybook/imports.py", "if taken > sailing.seats:",
                 "if taken > desk.free_seats(sailing):"),
        )),
        Step(490, "", (pytest(tests(61, (24,), BOUNCED)),), took_s=38),
        Step(3710, "The cancelled booking is still counted when the offer is made: `free_seats` is asked "
             "inside the transaction that removes it. The offer has to come after the commit.", (
            edit("ferrybook/bookings.py", "        self.mail.offers(", "        self.storage.commit()\n"
                 "        self.mail.offers("),
        )),
        Step(330, "", (pytest(quiet(61)),), took_s=39),
        Step(910, "Done. An offer now goes to the one who has waited longest, for as many seats as are "
             "free; the import asks the desk. All 61 tests pass."),
    )  # fmt: skip
    main.ends_turn()

    main.wait(seconds=20)
    main.switches_to(SONNET)
    main.says(
        "The rest is writing: README section, changelog, and the list on the office's page. I've "
        "switched to the small model for that."
    )
    main.does(
        Step(420, "I'll read the changelog and the page.", (
            read("CHANGELOG.md", CHANGELOG), read("ferrybook/admin.py", ADMIN),
        )),
        Step(320, "", (
            edit("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n- A full sailing has a waiting list. "
                 "Free seats are offered for twelve hours to whoever has waited longest.\n- The import "
                 "respects seats that are held.\n"),
        )),
        Step(540, "", (
            edit("ferrybook/admin.py", "free=desk.free_seats(sailing),", "free=desk.free_seats(sailing),\n"
                 "        waiting=\"\\n\".join(WAITING_ROW.format(**vars(each)) for each in "
                 "desk.waiting.entries(sailing_id)),"),
        )),
        Step(910, "", (
            edit("README.md", "## The office's page", "## Waiting lists\n\nWho finds a sailing full can "
                 "join its waiting list with a name, an address and a number of seats. When seats come "
                 "free, the one who has waited longest is offered as many as there are. The offer holds "
                 "them for twelve hours; then the next one is asked.\n\n## The office's page"),
        )),
        Step(260, "", (pytest(quiet(63)),), took_s=40),
        Step(230, "", (bash("ruff check ferrybook tests", "Lint", "All checks passed!"),)),
        Step(190, "", (bash("git add -A && git commit -qm 'Waiting lists' && git show --stat HEAD",
                            "Commit", "7 files changed, 214 insertions(+), 9 deletions(-)"),)),
        Step(460, "README, changelog and the office's page are done and committed; 63 tests pass."),
    )  # fmt: skip
    main.ends_turn()
    main.note(
        "last-prompt", lastPrompt="The rest is writing: README section, changelog, and the list"
    )
    return main


def other_design(main: Session) -> Session:
    """The next morning: the first ten calls again, and another way from there."""
    other = main.resumed("e8b2d604-91c7-4f3a-8a55-0d7e3b9f6c22", 10, at(7, 7, 48))
    other.says(
        "Before I show this to the office I want to see the other design: no table of its own, but a "
        "waiting booking is a booking with a state. How much would that change? Try it on a branch."
    )
    other.does(
        Step(5080, "Then `free_seats` has to look at the state, and `cancel` promotes instead of "
             "offering. Let me see who reads bookings without the desk.", (
            search("storage\\.bookings", IMPORTS),
            bash("git switch -c waiting-as-state", "Branch", "Switched to a new branch"),
        )),
        Step(3270, "", (
            edit("ferrybook/storage.py", "made_at TEXT NOT NULL", "made_at TEXT NOT NULL,\n    state TEXT "
                 "NOT NULL DEFAULT 'booked' CHECK (state IN ('booked', 'waiting', 'offered'))"),
            edit("ferrybook/bookings.py", "taken = sum(each.seats for each in",
                 "taken = sum(each.seats for each in self.taking_seats("),
        )),
        Step(400, "", (pytest(tests(58, (9, 16, 37), BOUNCED)),), took_s=37),
        Step(2540, "", (
            edit("ferrybook/admin.py", "desk.storage.bookings(sailing_id)",
                 "desk.storage.bookings(sailing_id, state='booked')"),
            pytest(quiet(58)),
        ), took_s=40),
        Step(1920, "It is smaller: one column instead of a table and 40 lines less. But every reader of "
             "bookings must now say which states it means, and three of seven forgot. I would keep the "
             "table: a forgotten state sells a seat twice, a forgotten table only fails to offer one."),
    )  # fmt: skip
    other.ends_turn()
    return other


CENTS = PRICES.replace("12.40", "1240").replace("14.90", "1490").replace("4.35", "435")
MANY = """E       TypeError: unsupported operand type(s) for +: 'decimal.Decimal' and 'float'
ferrybook/imports.py:66, ferrybook/admin.py:17, ferrybook/mail.py:41, scripts/monthly.py:28"""
INVOICES = "\n".join(
    f"2026-09-{1 + n % 30:02d}  invoice {4100 + n}  {('island-hop', 'mainland-north')[n % 3 == 0]:15s}"
    f"{1 + n % 6} payers  billed {435 * (1 + n % 6) / 100:7.2f}  now {435 * (1 + n % 6) / 100:7.2f}"
    f"{'  DIFFERS by 0.01' if n % 9 == 4 else ''}"
    for n in range(70)
)


def cents(cache: Cache) -> Session:
    """One-hour cache, an edited message, a compaction."""
    main = Session("31d9c0ee-7a48-4b1c-b7f2-94e5a60d8f33", at(8, 9, 3), cache, ONE_HOUR)
    main.says(
        "Invoices for the island hop are off by one cent now and then. Find out why before you change "
        "anything."
    )
    main.does(
        Step(2430, "", (read("ferrybook/prices.py", PRICES), search("price_of|round\\(", IMPORTS))),
        Step(1330, "", (
            bash("python scripts/monthly.py --compare 2026-09 | tail -70", "Compare", INVOICES),
        )),
        Step(3290, "Found it: `price_of` adds floats and rounds once per party, the till rounds per "
             "ticket. A third of 4.35 is 1.45 exactly, but half of it is 2.175: two children cost 4.35 "
             "here and 4.36 at the till. And `split_invoice` loses the remainder."),
    )  # fmt: skip
    main.ends_turn()
    main.wait(minutes=2)
    first_try = main.says("Then use Decimal everywhere and round per ticket.")
    main.does(
        Step(3920, "", (
            edit("ferrybook/prices.py", "    total = each * (seats - children - islanders)",
                 "    each = Decimal(str(each))\n    total = cents(each) * (seats - children - islanders)"),
        )),
        Step(600, "", (pytest(tests(63, (3, 5, 17, 24, 31, 45), MANY)),), took_s=36),
        Step(3360, "Decimals now leak into the import, the page, the mails and the monthly script. "
             "Shall I change all four?"),
    )  # fmt: skip
    main.ends_turn()
    main.wait(minutes=25)
    main.rewinds_before(first_try)
    main.says(
        "Keep whole cents inside prices.py, as int, and make euros only where people read them. Round "
        "per ticket."
    )
    main.does(
        Step(2990, "Integer cents need no rounding at all but for halves and thirds.", (
            write("ferrybook/prices.py", CENTS),
        )),
        Step(1440, "", (
            edit("ferrybook/admin.py", "<td>{paid:.2f}</td>", "<td>{euros}</td>"),
            edit("ferrybook/storage.py", "paid REAL NOT NULL", "paid_cents INTEGER NOT NULL"),
        )),
        Step(510, "", (pytest(tests(63)),), took_s=36),
        Step(2340, "", (
            edit("ferrybook/prices.py", "    return [part] * payers",
                 "    part, rest = divmod(total, payers)\n    return [part + (n < rest) for n in "
                 "range(payers)]"),
        )),
        Step(840, "Prices are whole cents inside; the page, the mails and the import convert. The parts "
             "of an invoice add up again. All 63 tests pass."),
    )  # fmt: skip
    main.ends_turn()
    main.wait(minutes=18)
    main.says("Good. Add a property test that the parts of an invoice always add up to it.")
    main.does(
        Step(1630, "", (
            write("tests/test_invoices.py", "from hypothesis import given, strategies as st\n\n\n"
                  "@given(st.integers(0, 10**7), st.integers(1, 60))\ndef test_parts_add_up(total, "
                  "payers):\n    parts = split_invoice(total, payers)\n    assert sum(parts) == total\n"
                  "    assert max(parts) - min(parts) <= 1\n"),
            pytest(quiet(96)),
        ), took_s=52),
        Step(420, "It passes, with 95 others: parts add up and differ by at most one cent."),
    )  # fmt: skip
    main.ends_turn()

    main.wait(minutes=1)
    main.compacts(SUMMARY)
    main.says("Now check September's invoices against the new sums. Which customers paid too much?")
    main.does(
        Step(2010, "", (
            bash("python scripts/monthly.py --compare 2026-09 | tail -70", "Compare", INVOICES),
        )),
        Step(1120, "", (read("ferrybook/prices.py", CENTS),)),
        Step(3200, "Eight of the 70 invoices differ, each by one cent, all of them island hops. "
             "Nobody paid more than the sum: the cent was lost, not charged. There is "
             "nothing to pay back."),
    )  # fmt: skip
    main.ends_turn()
    return main


def at(day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, 10, day, hour, minute, tzinfo=UTC)


def main(folder: Path) -> None:
    """Write the three sessions into the folder."""
    cache: Cache = {}
    first = waiting_list(cache)
    for session in (first, other_design(first), cents(cache)):
        session.save(folder / FOLDER)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
