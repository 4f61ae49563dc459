"""Parts of forkpoint, and the plain ways to do the same, timed from within.

`run.py` starts this script once for each run, so that no run finds another's caches. It prints one
JSON object; the clock starts after imports and after what is to be read lies in memory.

    python in_process.py samples FOLDER
    python in_process.py parse FORMAT BYTES FILE…
    python in_process.py tree shard|sort|trie FILE
    python in_process.py tokens forkpoint|tiktoken BYTES FOLDER
    python in_process.py waterfall CALLS
    python in_process.py group-trees sort|trie|prefixlens:PYTHON TOKENS
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from agent_calls import sessions

from forkpoint.analysis.causes import waterfall as levels_and_losses
from forkpoint.analysis.group_trees import GroupTrees, find_group_forks, sort_sequences
from forkpoint.analysis.policy import measure_levels
from forkpoint.analysis.shard import ShardTree
from forkpoint.analysis.siblings import rank_siblings
from forkpoint.analysis.tokens import Tokenizer, reference_ids
from forkpoint.parsers.base import ROOT, Parser
from forkpoint.parsers.logs import Log, read_head
from forkpoint.parsers.records import Call, Issue
from forkpoint.parsers.registry import identify, parser_named, parsers


def timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` answers, with the wall and CPU seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return {
        **answer,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def samples(folder: Path) -> dict[str, list[str]]:
    """The log files under a folder, by the format that claims them; formats without any have []."""
    found: dict[str, list[str]] = {parser.name: [] for parser in parsers()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (claim := identify(read_head(path))) is not None:
            found[claim.parser.name].append(str(path))
    return found


def parse(parser: Parser, n_bytes: int, paths: list[Path]) -> dict[str, Any]:
    """Parse and hash files of one format, again and again until `n_bytes` were read.

    Each file gets a tree of its own every time, as in ingest; tokens are not counted.
    """
    read = calls = issues = 0
    while read < n_bytes:
        for path in paths:
            log = Log(path)
            for record in parser.parse(log, ShardTree(log, None)):
                calls += isinstance(record, Call)
                issues += isinstance(record, Issue)
            read += path.stat().st_size
    return {"bytes": read, "calls": calls, "issues": issues}


def shard_nodes(sequences: list[list[int]], path: Path) -> dict[str, Any]:
    """Grow forkpoint's tree, in runs of 32 ids; forks inside a run are refined later, by `sort`."""
    tree = ShardTree(Log(path), None)
    for ids in sequences:
        tree.extend_tokens(ROOT, ids)
    return {"nodes": len(tree.node_hashes) - 1}


def sorted_tokens(sequences: list[Any]) -> dict[str, Any]:
    """Tokens of the prefix tree from sorted sequences and what neighbours share."""
    _, shared = rank_siblings(sequences)
    return {"tree_tokens": sum(map(len, sequences)) - sum(shared)}


def trie_tokens(sequences: list[list[int]]) -> dict[str, Any]:
    """Tokens of the prefix tree from a plain trie: one dict per token."""
    root: dict[int, Any] = {}
    nodes = 0
    for ids in sequences:
        node = root
        for token in ids:
            below = node.get(token)
            if below is None:
                below = node[token] = {}
                nodes += 1
            node = below
    return {"tree_tokens": nodes}


def tree(how: str, path: Path) -> dict[str, Any]:
    """Build the tree of all prompts in a token-id log, one of three ways."""
    with open(path, "rb") as lines:
        sequences = [msgspec.json.decode(line)["prompt_token_ids"] for line in lines]
    if how == "shard":
        return timed(lambda: shard_nodes(sequences, path))
    if how == "sort":
        arrays = [np.array(ids, dtype=np.uint32) for ids in sequences]
        return timed(lambda: sorted_tokens(arrays))
    return timed(lambda: trie_tokens(sequences))


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] = ""


class _Line(msgspec.Struct):
    message: _Message | None = None


def texts_of(folder: Path) -> Iterator[str]:
    """Message texts of the Claude Code logs under a folder; lines of another shape are left out."""
    decoder = msgspec.json.Decoder(_Line)
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                message = decoder.decode(line).message or _Message()
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            content = message.content
            for block in [{"text": content}] if isinstance(content, str) else content:
                text = block.get("text") or block.get("content")
                if isinstance(text, str) and text:
                    yield text


def tokens(how: str, n_bytes: int, folder: Path) -> dict[str, Any]:
    """Encode `n_bytes` of message text; the vocabulary is loaded before the clock starts."""
    encode = Tokenizer().encode if how == "forkpoint" else reference_ids
    texts, read = [], 0
    for text in texts_of(folder):
        texts.append(text)
        read += len(text.encode())
        if read >= n_bytes:
            break
    load = timed(lambda: {"ids": len(encode("x"))})
    digest = hashlib.sha256()
    encoded: list[Any] = []

    def work() -> dict[str, Any]:
        encoded.extend(encode(text) for text in texts)
        return {"bytes": read, "tokens": sum(len(ids) for ids in encoded)}

    answer = timed(work)
    for ids in encoded:
        digest.update(np.asarray(ids, dtype=np.uint32).tobytes())
    return {**answer, "load_seconds": load["seconds"], "digest": digest.hexdigest()}


def waterfall(n_calls: int) -> dict[str, Any]:
    """Hold generated calls against the cache rules: all levels, what each lost, and the sums."""
    prompts, facts, missed = sessions(n_calls)

    def work() -> dict[str, Any]:
        levels = measure_levels(prompts, facts, missed, {})
        steps = levels_and_losses(prompts, missed, levels)
        return {
            "calls": len(prompts.prompt),
            "policy": int(levels.policy.sum()),
            "steps": len(steps),
        }

    return timed(work)


_GROUPS, _ROLLOUTS = 200, 16
_BLOCK = 16


def rollout_ids(n_tokens: int) -> tuple[Any, list[Any]]:
    """Groups and token ids of 3,200 invented rollouts that part from one another anywhere."""
    rng = np.random.default_rng(11)
    length = n_tokens // (_GROUPS * _ROLLOUTS)
    sequences: list[Any] = []
    for _ in range(_GROUPS):
        group = [rng.integers(0, 150_000, length, dtype=np.uint32)]
        prompt = length // 7
        while len(group) < _ROLLOUTS:
            part = int(rng.integers(prompt, length))
            head = group[int(rng.integers(len(group)))][:part]
            tail = rng.integers(0, 150_000, length - part, dtype=np.uint32)
            group.append(np.concatenate((head, tail)))
        sequences += [group[i] for i in rng.permutation(_ROLLOUTS)]
    return np.repeat(np.arange(_GROUPS), _ROLLOUTS), sequences


def group_trees(how: str, n_tokens: int) -> dict[str, Any]:
    """Trees of all groups, and their forks where the way has any; ids lie in memory."""
    group, sequences = rollout_ids(n_tokens)
    flat = {"flat_tokens": sum(map(len, sequences))}
    if how == "sort":
        found: list[GroupTrees] = []

        def work() -> dict[str, Any]:
            trees = sort_sequences(group, sequences)
            found.append(trees)
            forks = find_group_forks(trees)
            return {"tree_tokens": int(trees.tree_tokens.sum()), "forks": len(forks)}

        answer = timed(work)
        whole, shared = found[0].length // _BLOCK, found[0].shared // _BLOCK
        return {**answer, **flat, "tree_blocks": int(whole.sum() - shared.sum())}
    if how == "trie":
        lists = [each.tolist() for each in sequences]
        parts = [lists[i : i + _ROLLOUTS] for i in range(0, len(lists), _ROLLOUTS)]
        total = lambda: sum(trie_tokens(part)["tree_tokens"] for part in parts)
        return {**timed(lambda: {"tree_tokens": total()}), **flat}
    return {**_peer_trees(how.partition(":")[2], group, sequences), **flat}


def _peer_trees(python: str, group: Any, sequences: list[Any]) -> dict[str, Any]:
    """prefixlens's answer on the same ids."""
    heads = [number for i, each in enumerate(sequences) for number in (group[i], len(each))]
    with tempfile.NamedTemporaryFile(suffix=".ids") as file:
        np.array([_GROUPS, len(sequences), *heads], dtype="<u4").tofile(file)
        for each in sequences:
            each.astype("<u4").tofile(file)
        file.flush()
        script = str(Path(__file__).parent / "peers" / "prefixlens_run.py")
        done = subprocess.run([python, script, file.name], capture_output=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main(what: str, *rest: str) -> dict[str, Any]:
    """Do what the command line says."""
    if what == "samples":
        return dict(samples(Path(*rest)))
    if what == "parse":
        name, n_bytes, *paths = rest
        parser, files = parser_named(name), [Path(path) for path in paths]
        return timed(lambda: parse(parser, int(n_bytes), files))
    if what == "tree":
        how, path = rest
        return tree(how, Path(path))
    if what == "tokens":
        how, n_bytes, folder = rest
        return tokens(how, int(n_bytes), Path(folder))
    if what == "waterfall":
        return waterfall(int(*rest))
    if what == "group-trees":
        how, n_tokens = rest
        return group_trees(how, int(n_tokens))
    raise SystemExit(__doc__)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
