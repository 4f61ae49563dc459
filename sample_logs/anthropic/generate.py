"""Write code-review.jsonl: a code-review agent, as a proxy logs its Messages API traffic.

Everything in it is invented. Two reviews, 20 requests, with tools, tool use and two cache
breakpoints: behind the system prompt, and behind the newest block. In the middle of the first
review a plugin is loaded and the agent sorts its tools anew: that request finds nothing in the
cache, and the API says why.

Token counts are a quarter of the characters. Cache reads and writes are what the API's published
rules give: an entry at each breakpoint, alive for five minutes after its last use.

Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MODEL = "claude-sonnet-4-5-20250929"
START = datetime(2026, 9, 21, 13, 30, tzinfo=UTC)
LIFETIME_S = 300
AROUND = 4
"""Tokens behind the last breakpoint: what the API adds to end the turn."""

SYSTEM = [
    (
        "You review changes to tidepool, a service that collects water levels from harbour gauges and "
        "warns when they rise faster than the forecast. You are given one change at a time. Read what it "
        "touches, run the tests it could break, and leave comments where a person would be glad of one. "
        "You do not change files yourself."
    ),
    (
        "# What to look for, in this order\n"
        "1. Wrong results: units (levels are integer millimetres, never floats of metres), time zones "
        "(everything inside is UTC; harbours are converted at the edge), off-by-one windows, and gauges "
        "that report late or twice.\n"
        "2. Lost data: an exception that is caught and dropped, a queue without a bound, a write that is "
        "not followed by a flush before the acknowledgement goes out.\n"
        "3. Hidden coupling: a module of storage that imports from alerts, a test that needs the network, "
        "a constant that stands in two places.\n"
        "4. Speed, only where a gauge's path runs more than once a second. Say what you measured.\n"
        "5. Names and comments, if they would mislead the next reader. Style is the formatter's business."
    ),
    (
        "# How to comment\n"
        "- One finding, one comment, on the line where the mend would go. Begin with what can happen, "
        "not with what the code is called.\n"
        "- Say how sure you are: 'breaks' if you saw it fail, 'looks wrong' if you read it, 'consider' "
        "for everything else. Never write 'nit'.\n"
        "- Propose a mend in at most six lines, or say what you would want to know first.\n"
        "- If the change is good, approve it in one sentence and stop. Praise is not a finding."
    ),
    (
        "# Facts about the repository\n"
        "Gauges post to ingest/http.py. A reading is (gauge, at, level_mm, quality). Quality below 40 is "
        "kept but never alerts. storage/ring.py holds the last 48 hours in memory, storage/disk.py all of "
        "it. alerts/slope.py fits a line through the last twelve readings; alerts/send.py speaks to the "
        "harbour offices, which tolerate repeats but not silence. Tests live beside their modules as "
        "test_*.py and run with run_tests. Files above 400 lines are generated: do not review them."
    ),
    (
        "# What went wrong before\n"
        "- In March a gauge sent its level in centimetres after a repair. Nobody noticed for nine days, "
        "because the slope was plausible. Since then ingest refuses a jump of more than 900 mm between two "
        "readings; a change that loosens this needs a word from the harbour office.\n"
        "- In May the disk was full and readings were acknowledged that were never written. A write now "
        "raises, and the gauge repeats. Do not let anyone catch that error.\n"
        "- In June two harbours shared a name. Identify gauges by their number everywhere; names are for "
        "people and may change.\n"
        "- In August a daylight-saving change gave an hour of alerts twice. The mend is the rule about "
        "UTC above."
    ),
    (
        "# When you are done\n"
        "End with one paragraph: how many comments, which of them you saw fail, which you only read, and "
        "whether you would merge. If the tests could not run, say so first. If you ran out of things to "
        "check, name what you did not read. Do not repeat the comments; the author sees them beside the "
        "lines. Never ask the author to 'make sure' of something: look it up or leave it. A change that "
        "only moves code is approved when the tests pass and no public name changed. A change that "
        "deletes a test needs a reason in its description; if there is none, that is your first comment."
    ),
]


def tool(name: str, purpose: str, **fields: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": text} for key, text in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return {"name": name, "description": purpose, "input_schema": schema}


TOOLS = [
    tool(
        "show_diff",
        "The change under review as a unified diff, without generated files.",
        change="Number of the change, digits only.",
    ),
    tool(
        "read_file",
        "A file as it is after the change, with line numbers.",
        path="Path from the root of the repository, with forward slashes.",
    ),
    tool(
        "search_code",
        "Lines that contain a text, at most forty, each with its path and number.",
        text="The text, taken literally; upper and lower case differ.",
    ),
    tool(
        "run_tests",
        "Run the tests of one folder on the changed tree. Takes up to two minutes.",
        folder="A folder that has test files, for example alerts.",
    ),
    tool(
        "comment",
        "Leave a comment on a line of the change. It is sent when the review is finished.",
        path="Path of the file.",
        line="Line number after the change.",
        text="The comment, at most six sentences.",
    ),
]

SLOPE_DIFF = """--- a/alerts/slope.py
+++ b/alerts/slope.py
@@ -18,9 +18,12 @@
-def slope_mm_per_hour(readings):
-    xs = [r.at.timestamp() for r in readings]
-    ys = [r.level_mm for r in readings]
-    return fit(xs, ys) * 3600
+def slope_mm_per_hour(readings, limit=12):
+    window = readings[-limit:]
+    start = window[0].at
+    xs = [(r.at - start).seconds for r in window]
+    ys = [r.level_mm for r in window if r.quality >= 40]
+    return fit(xs, ys) * 3600
"""

SLOPE_FILE = """1  from alerts.fit import fit
2  from storage.ring import Reading
...
18 def slope_mm_per_hour(readings: list[Reading], limit: int = 12) -> float:
19     \"\"\"Rise of the water in millimetres per hour, by least squares.\"\"\"
20     window = readings[-limit:]
21     start = window[0].at
22     xs = [(r.at - start).seconds for r in window]
23     ys = [r.level_mm for r in window if r.quality >= 40]
24     return fit(xs, ys) * 3600
...
31 def rising_too_fast(readings, forecast_mm_per_hour, factor=1.5):
32     return slope_mm_per_hour(readings) > factor * forecast_mm_per_hour
"""

FIT_FILE = """1  def fit(xs, ys):
2      n = min(len(xs), len(ys))
3      mx, my = sum(xs[:n]) / n, sum(ys[:n]) / n
4      top = sum((x - mx) * (y - my) for x, y in zip(xs, ys))
5      low = sum((x - mx) ** 2 for x in xs[:n])
6      return top / low if low else 0.0
"""

SEARCH_SLOPE = """alerts/slope.py:18: def slope_mm_per_hour(readings, limit=12):
alerts/slope.py:32: return slope_mm_per_hour(readings) > factor * forecast_mm_per_hour
alerts/test_slope.py:9: assert slope_mm_per_hour(steady(12)) == 0.0
alerts/test_slope.py:17: assert 59 < slope_mm_per_hour(rising(12, 60)) < 61
web/harbour.py:77: "slope": slope_mm_per_hour(ring.of(gauge)),
"""

TESTS_SLOPE = """alerts/test_slope.py ....... [ 70%]
alerts/test_send.py ...      [100%]
10 passed in 3.12s
"""

HARBOUR_FILE = """70 def harbour_page(gauge: str) -> dict[str, object]:
71     ring = rings[gauge]
72     latest = ring.latest()
73     return {
74         "gauge": gauge,
75         "level": latest.level_mm / 1000,
76         "at": latest.at.astimezone(zone_of(gauge)).isoformat(),
77         "slope": slope_mm_per_hour(ring.of(gauge)),
78     }
"""

RING_DIFF = """--- a/storage/ring.py
+++ b/storage/ring.py
@@ -40,6 +40,11 @@
     def add(self, reading):
-        self._items.append(reading)
+        if self._items and reading.at == self._items[-1].at:
+            return
+        self._items.append(reading)
+        while self._items[0].at < reading.at - KEEP:
+            self._items.popleft()
"""

RING_FILE = """30 KEEP = timedelta(hours=48)
31
32 class Ring:
33     \"\"\"The readings of one gauge of the last 48 hours, oldest first.\"\"\"
...
40     def add(self, reading):
41         if self._items and reading.at == self._items[-1].at:
42             return
43         self._items.append(reading)
44         while self._items[0].at < reading.at - KEEP:
45             self._items.popleft()
46
47     def latest(self):
48         return self._items[-1]
"""

TESTS_RING = """storage/test_ring.py ....F.. [ 58%]
storage/test_disk.py .....   [100%]
FAILED storage/test_ring.py::test_late_reading_is_sorted_in
1 failed, 11 passed in 2.40s
"""

Step = tuple[str, str, dict[str, str] | None, str]
"""What the agent says, the tool it calls (or ""), its input, and what the tool answers."""

REVIEWS: dict[str, tuple[str, list[Step]]] = {
    "review-4182": (
        ("Please review change 4182: the slope of a gauge is computed from the last twelve readings "
        "only, and readings of low quality are left out."),
        [
            ("I'll read the change first.", "show_diff", {"change": "4182"}, SLOPE_DIFF),
            ("", "read_file", {"path": "alerts/slope.py"}, SLOPE_FILE),
            ("The lists may differ in length now; what does fit do with that?", "read_file",
             {"path": "alerts/fit.py"}, FIT_FILE),
            ("It cuts both to the shorter one, so times and levels no longer belong together.",
             "search_code", {"text": "slope_mm_per_hour"}, SEARCH_SLOPE),
            ("", "run_tests", {"folder": "alerts"}, TESTS_SLOPE),
            ("The tests pass because none has a reading of low quality.", "comment",
             {"path": "alerts/slope.py", "line": "23",
              "text": "Breaks as soon as one reading has a quality below 40: xs still holds its time, "
                      "fit() cuts both lists to the shorter, and all later levels move to the wrong "
                      "time. Filter the window once, before xs and ys are built, and add a test with "
                      "one bad reading in the middle."}, "kept as comment 1"),
            ("", "comment",
             {"path": "alerts/slope.py", "line": "22",
              "text": "Looks wrong: timedelta.seconds drops whole days, so a gauge that was silent "
                      "for a day folds back to the start. Use total_seconds()."}, "kept as comment 2"),
            ("The page of a harbour uses it too.", "read_file", {"path": "web/harbour.py"},
             HARBOUR_FILE),
            ("", "search_code", {"text": "quality"},
             ("ingest/http.py:51: quality = int(form['quality'])\n"
             "alerts/slope.py:23: ys = [r.level_mm for r in window if r.quality >= 40]\n"
             "alerts/send.py:14: if reading.quality < 40:\n")),
            ("The limit of 40 stands in two places.", "comment",
             {"path": "alerts/slope.py", "line": "23",
              "text": "Consider one constant: alerts/send.py has the same 40 on line 14."},
             "kept as comment 3"),
            ("", "comment",
             {"path": "alerts/slope.py", "line": "21",
              "text": "Breaks for a gauge without readings: window[0] raises IndexError, and "
                      "web/harbour.py line 77 calls this before the first reading has come."},
             "kept as comment 4"),
            (("I left four comments. Two are certain to give wrong slopes or an error: unequal lists "
             "after the quality filter, and a gauge without readings. The other two are a silent day "
             "and a doubled constant. I would not merge 4182 before the first two are mended."),
             "", None, ""),
        ],
    ),
    "review-4185": (
        ("Please review change 4185: the ring drops repeated readings and forgets what is older than "
        "48 hours."),
        [
            ("I'll read the change first.", "show_diff", {"change": "4185"}, RING_DIFF),
            ("", "read_file", {"path": "storage/ring.py"}, RING_FILE),
            ("", "run_tests", {"folder": "storage"}, TESTS_RING),
            ("A test about late readings fails. Is that new?", "search_code",
             {"text": "late_reading"},
             ("storage/test_ring.py:44: def test_late_reading_is_sorted_in():\n"
             "ingest/test_http.py:91: def test_late_reading_is_accepted():\n")),
            ("", "read_file", {"path": "storage/test_ring.py"},
             ("44 def test_late_reading_is_sorted_in():\n"
             "45     ring = Ring()\n"
             "46     ring.add(at(10))\n47     ring.add(at(12))\n48     ring.add(at(11))\n"
             "49     assert [r.at.minute for r in ring] == [10, 11, 12]\n")),
            ("", "comment",
             {"path": "storage/ring.py", "line": "43",
              "text": "Breaks test_late_reading_is_sorted_in: add() appends a late reading behind a "
                      "newer one, and latest() then goes back in time. Insert from the right until "
                      "the order holds; late readings are rare, so this stays cheap."},
             "kept as comment 1"),
            ("", "comment",
             {"path": "storage/ring.py", "line": "41",
              "text": "Looks wrong: only a repeat of the newest reading is dropped. A gauge that "
                      "repeats after a late reading is counted twice."}, "kept as comment 2"),
            (("Change 4185 breaks one test: late readings are appended out of order. I left a comment "
             "with a way to mend it, and one about repeats that are not the newest reading."),
             "", None, ""),
        ],
    ),
}  # fmt: skip

PLUGIN_LOADED = ("review-4182", 6)
"""From this request on the first review's tools are sorted by name."""


def tokens(value: Any) -> int:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return -(-len(text) // 4)


class Cache:
    """Entries at breakpoints, by everything before them."""

    def __init__(self) -> None:
        self.used: dict[str, datetime] = {}

    def call(self, pieces: list[Any], breakpoints: list[int], at: datetime) -> tuple[int, int]:
        """Tokens read and written. `breakpoints` are numbers of pieces."""
        texts = [json.dumps(piece, ensure_ascii=False) for piece in pieces]
        sizes = [tokens(text) for text in texts]
        read = 0
        for end in range(1, len(pieces) + 1):
            key = "\x00".join(texts[:end])
            if key in self.used and (at - self.used[key]).total_seconds() < LIFETIME_S:
                read = sum(sizes[:end])
                self.used[key] = at
        for end in breakpoints:
            self.used["\x00".join(texts[:end])] = at
        return read, sum(sizes[: breakpoints[-1]]) - read


def with_breakpoint(message: dict[str, Any]) -> dict[str, Any]:
    *before, last = message["content"]
    return {**message, "content": [*before, {**last, "cache_control": {"type": "ephemeral"}}]}


def review(name: str, at: datetime, cache: Cache) -> list[dict[str, Any]]:
    question, steps = REVIEWS[name]
    short = name.removeprefix("review-")
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": question}]}
    ]
    found, previous = [], None
    for n, (said, called, given, result) in enumerate(steps):
        resorted = name == PLUGIN_LOADED[0] and n >= PLUGIN_LOADED[1]
        tools = sorted(TOOLS, key=lambda each: each["name"]) if resorted else TOOLS
        system = [{"type": "text", "text": text} for text in SYSTEM]
        blocks = [block for message in messages for block in message["content"]]
        fixed = len(tools) + len(system)
        pieces = [*tools, *system, *blocks]
        read, written = cache.call(pieces, [fixed, len(pieces)], at)
        content: list[dict[str, Any]] = [{"type": "text", "text": said}] if said else []
        if called:
            content.append(
                {
                    "type": "tool_use",
                    "id": f"toolu_smpl{short}{n:04d}",
                    "name": called,
                    "input": given,
                }
            )
        output = sum(tokens(block) for block in content)
        lost = (name, n) == PLUGIN_LOADED
        reason = {"type": "tools_changed", "cache_missed_input_tokens": written} if lost else None
        response = {
            "id": f"msg_smpl{short}{n:04d}tidepool",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": content,
            "stop_reason": "tool_use" if called else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": AROUND,
                "cache_creation_input_tokens": written,
                "cache_read_input_tokens": read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": written,
                    "ephemeral_1h_input_tokens": 0,
                },
                "output_tokens": output,
                "service_tier": "standard",
            },
            "diagnostics": {"cache_miss_reason": reason} if reason else None,
        }
        request = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4096,
            "tools": tools,
            "system": [*system[:-1], {**system[-1], "cache_control": {"type": "ephemeral"}}],
            "messages": [*messages[:-1], with_breakpoint(messages[-1])],
            "diagnostics": {"previous_message_id": previous},
        }
        took = timedelta(milliseconds=900 + 18 * output)
        found.append(
            {
                "start_time": at.isoformat(timespec="milliseconds"),
                "end_time": (at + took).isoformat(timespec="milliseconds"),
                "session_id": name,
                "request": request,
                "response": response,
            }
        )
        previous = response["id"]
        messages = [*messages, {"role": "assistant", "content": content}]
        if called:
            answer = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": result}
            messages.append({"role": "user", "content": [answer]})
        at += took + timedelta(seconds=95 if called == "run_tests" else 2)
    return found


def main() -> None:
    cache = Cache()
    found = review("review-4182", START, cache)
    found += review("review-4185", START + timedelta(minutes=5), cache)
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in found]
    target = Path(__file__).with_name("code-review.jsonl")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
