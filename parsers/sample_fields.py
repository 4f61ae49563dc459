"""What the head of a sample file shows of its fields, and which of them are what by their names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from forkpoint.parsers.csv_rows import header_of
from forkpoint.parsers.document import first_record
from forkpoint.parsers.logs import Head
from forkpoint.parsers.sample_map import SampleMap, find_map, top_field
from forkpoint.parsers.sample_values import are_messages

_PROMPTS = ("prompt", "input", "question")
_COMPLETIONS = ("completion", "response", "output")
_GROUPS = ("group", "task_id", "problem_id", "uid")
_REWARDS = ("reward", "score")
# fmt: off
_OTHERS = frozenset((
    "answer", "model", "id", "index", "sample", "sample_id", "sample_index", "seed", "temperature",
    "finish_reason", "stop_reason",
))
# fmt: on
_KNOWN = frozenset((*_PROMPTS, *_COMPLETIONS, *_GROUPS, *_REWARDS)) | _OTHERS


def first_fields(head: Head) -> dict[str, Any]:
    """The fields of a file's first record; of CSV and Parquet, only their names."""
    if head.parquet_columns:
        return dict.fromkeys(head.parquet_columns)
    if head.data.lstrip()[:1] == b"{":
        return first_record(head)
    return dict.fromkeys(header_of(head.data))


def is_beside_map(head: Head) -> bool:
    """Whether a file of records lies in one folder with the map that is found for it."""
    found = find_map(head.path)
    if found is None or found.parent != head.path.absolute().parent:
        return False
    names = head.path.name.lower().removesuffix(".gz").removesuffix(".zst")
    # Any text has a first line; only its name says that it is a table.
    is_table = names.endswith((".csv", ".tsv"))
    return is_table or bool(head.parquet_columns) or head.data.lstrip()[:1] == b"{"


def fits(mapped: SampleMap, head: Head) -> bool:
    """Whether the first record has the prompt and the completion that a map names.

    Of a record longer than the head, one of the two may be all that is seen.
    """
    fields = first_fields(head)
    shown = [top_field(path, fields) in fields for path in (mapped.prompt, mapped.completion)]
    return any(shown) if head.is_cut else all(shown)


def fits_header(mapped: SampleMap, names: list[str]) -> bool:
    """Whether a table's columns have the prompt and the completion that a map names."""
    columns = dict.fromkeys(names)
    return {top_field(path, columns) for path in (mapped.prompt, mapped.completion)} <= {*names}


def guess(head: Head) -> SampleMap | None:
    """The map that common names make, or ``None`` if there is a record that they do not fit."""
    found = guess_any(head)
    if found is None or not all(_is_sample(record, found) for record in head.objects):
        return None
    return found


def guess_any(head: Head) -> SampleMap | None:
    """The map that common names make of the fullest first record that they fit."""
    if head.is_cut:
        return None
    maps = [_by_names(fields.keys()) for fields in head.objects or [first_fields(head)]]
    return max(filter(None, maps), key=lambda each: len(each.paths), default=None)


def _by_names(fields: Collection[str]) -> SampleMap | None:
    """The map of a record with these fields, or ``None`` if they can be mistaken."""
    if not _KNOWN.issuperset(fields):
        return None
    found: dict[str, str] = {}
    for name, names in (
        ("prompt", _PROMPTS),
        ("completion", _COMPLETIONS),
        ("group", _GROUPS),
        ("reward", _REWARDS),
    ):
        present = [each for each in names if each in fields]
        if len(present) > 1:
            return None
        if present:
            found[name] = present[0]
    if not {"prompt", "completion"} <= found.keys() or not {"group", "reward"} & found.keys():
        return None
    if "answer" in fields and found["prompt"] != "question":
        found["answer"] = "answer"
    if "model" in fields:
        found["model"] = "model"
    return SampleMap(**found)


def _is_sample(record: dict[str, Any], found: SampleMap) -> bool:
    prompt, completion = record.get(found.prompt), record.get(found.completion)
    reward, group = record.get(found.reward or ""), record.get(found.group or "")
    return (
        record.keys() <= _KNOWN
        and (isinstance(prompt, str) or are_messages(prompt))
        and isinstance(completion, str)
        and isinstance(reward, int | float | None)
        and isinstance(group, str | int | None)
    )
