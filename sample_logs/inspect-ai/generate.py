"""Writes an Inspect archive with three samples in two epochs, and a one-document log of another run.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

SYSTEM = "You keep the catalogue of a small museum of lamps. Answer from the catalogue only."
SEARCH = {
    "name": "search",
    "description": "Search the catalogue.",
    "parameters": {"type": "object", "properties": {"words": {"type": "string"}}},
}
QUESTIONS = [
    ("brass", "Which brass lamp is the oldest?", "Davy lamp, 1815", "1815"),
    ("arc", "Who made the arc lamp in room 2?", "Arc lamp by Jablochkoff, 1876", "Jablochkoff"),
    ("oil", "How many oil lamps are there?", "Oil lamp, Roman; oil lamp, Argand", "2"),
]
JUDGE = "Question: {q}\nExpert: {e}\nSubmission: {a}\nIs the submission right? Answer C or I."
DIGEST_LENGTH = 32


def name(*parts: object) -> str:
    """An invented id of 22 characters, the same for the same parts."""
    return hashlib.md5(repr(parts).encode()).hexdigest()[:22]


def usage(prompt: int, output: int, cached: int = 0) -> dict[str, int]:
    return {
        "input_tokens": prompt - cached,
        "output_tokens": output,
        "total_tokens": prompt + output,
        "input_tokens_cache_read": cached,
    }


def output(text: str, counts: dict[str, int], calls: list[Any] | None = None) -> dict[str, Any]:
    message = {"id": name(text), "content": text, "source": "generate", "role": "assistant"}
    if calls:
        message["tool_calls"] = calls
    words = text.split()
    logprobs = [
        {"token": word, "logprob": -0.05 * (1 + len(word) % 7), "top_logprobs": []}
        for word in words
    ]
    choice: dict[str, Any] = {"message": message, "stop_reason": "stop"}
    if words:
        choice["logprobs"] = {"content": logprobs}
    return {"model": "acme/harbour-7b", "choices": [choice], "usage": counts, "time": 0.8}


def event(kind: str, second: int, **fields: Any) -> dict[str, Any]:
    stamp = f"2026-04-02T11:{second // 60:02d}:{second % 60:02d}+00:00"
    return {"uuid": name(kind, second, fields), "timestamp": stamp, "event": kind, **fields}


def sample(place: int, epoch: int) -> dict[str, Any]:
    """One rollout: a search, an answer, and a call of the model that grades it."""
    key, question, found, target = QUESTIONS[place]
    right = (place + epoch) % 3 != 0
    answer = f"It is {target}." if right else "The catalogue does not say."
    words = "lamp" if epoch == 2 and place == 1 else key
    start = 60 * place + 20 * epoch
    long_name = hashlib.md5(SYSTEM.encode()).hexdigest()[:DIGEST_LENGTH]
    call = {"id": name(key, epoch), "function": "search", "arguments": {"words": words}}
    first = output("", usage(96, 14), [call])
    last = output(answer, usage(124, 9, 96))
    pool = [
        {"id": name("s"), "content": f"attachment://{long_name}", "role": "system"},
        {"id": name("u", key), "content": question, "source": "input", "role": "user"},
        first["choices"][0]["message"],
        {"id": name("t", key), "content": found, "role": "tool", "function": "search"},
    ]
    whole = [dict(pool[0], content=SYSTEM), *pool[1:], last["choices"][0]["message"]]
    judge = [{"content": JUDGE.format(q=question, e=target, a=answer), "role": "user"}]
    spans = {span: name(span, place, epoch) for span in ("solvers", "scorers")}
    made = {"model": "vllm/acme/harbour-7b", "tool_choice": "auto", "config": {}}
    in_solver, in_scorer = {"span_id": spans["solvers"]}, {"span_id": spans["scorers"]}
    events = [
        event("span_begin", start, id=spans["solvers"], type="solvers", name="solvers"),
        event(
            "model", start + 1, input=[], input_refs=[[0, 2]], tools=[SEARCH], output=first, **made,
            **in_solver,
        ),
        event("tool", start + 2, function="search", arguments={"words": words}, result=found),
        event(
            "model", start + 3, input=[], input_refs=[[0, 4]], tools=[SEARCH], output=last, **made,
            **in_solver,
        ),
        event("span_end", start + 4, id=spans["solvers"]),
        event("span_begin", start + 5, id=spans["scorers"], type="scorers", name="scorers"),
        event(
            "model", start + 6, input=judge, tools=[], output=output("C" if right else "I", usage(61, 1)),
            **made, **in_scorer,
        ),
        event("span_end", start + 7, id=spans["scorers"]),
    ]  # fmt: skip
    return {
        "id": key,
        "epoch": epoch,
        "input": question,
        "target": target,
        "messages": whole,
        "output": last,
        "scores": {"model_graded": {"value": "C" if right else "I", "answer": answer}},
        "metadata": {},
        "store": {},
        "events": events,
        "model_usage": {"vllm/acme/harbour-7b": usage(281, 24, 96)},
        "uuid": name("sample", key, epoch),
        "attachments": {long_name: SYSTEM},
        "events_data": {"messages": pool, "calls": []},
    }


def header(run: str, samples: list[dict[str, Any]], left_out: int) -> dict[str, Any]:
    """What a log says of itself. Its usage also counts samples that were left out."""
    n = len(samples) + left_out
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": name("eval", run),
            "run_id": name("run", run),
            "created": "2026-04-02T11:00:00+00:00",
            "task": "lamp_catalogue",
            "task_id": name("task", run),
            "model": "vllm/acme/harbour-7b",
            "config": {"epochs": 2},
            "packages": {"inspect_ai": "0.3.200"},
        },
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {}},
        "results": {"total_samples": n, "completed_samples": len(samples), "scores": []},
        "stats": {
            "started_at": "2026-04-02T11:00:00+00:00",
            "completed_at": "2026-04-02T11:04:00+00:00",
            "model_usage": {"vllm/acme/harbour-7b": usage(281 * n, 24 * n, 96 * n)},
        },
    }


def archive() -> bytes:
    """The archive, without compression: what compressors write differs from one to the next."""
    samples = [sample(place, epoch) for epoch in (1, 2) for place in range(len(QUESTIONS))]
    head = header("archive", samples, 2)
    start = {key: head[key] for key in ("version", "eval", "plan")}
    members = {"_journal/start.json": start}
    members |= {f"samples/{each['id']}_epoch_{each['epoch']}.json": each for each in samples}
    summaries = [{key: each[key] for key in ("id", "epoch", "scores")} for each in samples]
    members |= {"summaries.json": summaries, "header.json": head}  # type: ignore[dict-item]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for path, value in members.items():
            info = zipfile.ZipInfo(path, (2026, 4, 2, 11, 4, 0))
            info.create_system = 3
            target.writestr(info, json.dumps(value, separators=(",", ":")))
    return written.getvalue()


def document() -> bytes:
    """The same task asked without tools, as one document; conversations are all it kept."""
    samples = []
    for key, question, _, target in QUESTIONS[:2]:
        answer = {"content": f"It is {target}.", "source": "generate", "role": "assistant"}
        samples.append(
            {
                "id": key,
                "epoch": 1,
                "input": question,
                "target": target,
                "messages": [
                    {"content": SYSTEM, "role": "system"},
                    {"content": question, "source": "input", "role": "user"},
                    answer,
                ],
                "output": {"model": "acme/harbour-7b", "choices": [], "completion": ""},
                "scores": {"includes": {"value": "C", "answer": target}},
                "events": [],
                "model_usage": {"vllm/acme/harbour-7b": usage(41, 6)},
                "attachments": {},
            }
        )
    log = header("document", samples, 0)
    return (json.dumps({**log, "samples": samples}, indent=2) + "\n").encode()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "2026-04-02T11-00-00_lamp-catalogue.eval").write_bytes(archive())
    (folder / "2026-04-02T12-00-00_lamp-catalogue.json").write_bytes(document())


if __name__ == "__main__":
    main()
