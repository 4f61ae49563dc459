"""The prefix tree by brute force: sets and pairwise comparison, nothing clever."""

from __future__ import annotations

from itertools import combinations

Segment = tuple[str, tuple[int, ...]]
"""(identity, token ids)"""
Prompt = tuple[Segment, ...]


def flat_tokens(prompts: list[Prompt]) -> int:
    return sum(len(ids) for prompt in prompts for _, ids in prompt)


def tree_tokens(prompts: list[Prompt]) -> int:
    """Distinct tokens, each named by the whole segments before it and its own segment up to it."""
    distinct = set()
    for prompt in prompts:
        for i, (_, ids) in enumerate(prompt):
            before = tuple(name for name, _ in prompt[:i])
            distinct.update((before, ids[: k + 1]) for k in range(len(ids)))
    return len(distinct)


def fork_points(prompts: list[Prompt]) -> set[tuple[str, ...]]:
    """Paths after which two prompts go on differently, having something in common."""
    found = set()
    for a, b in combinations(prompts, 2):
        k = 0
        while k < min(len(a), len(b)) and a[k][0] == b[k][0]:
            k += 1
        if k == len(a) or k == len(b):
            continue
        head = 0
        while head < min(len(a[k][1]), len(b[k][1])) and a[k][1][head] == b[k][1][head]:
            head += 1
        if sum(len(ids) for _, ids in a[:k]) + head > 0:
            found.add(tuple(name for name, _ in a[:k]))
    return found


def token_fork_points(sequences: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """Non-empty beginnings after which two sequences of bare tokens go on with different tokens."""
    found = set()
    for a, b in combinations(sequences, 2):
        k = 0
        while k < min(len(a), len(b)) and a[k] == b[k]:
            k += 1
        if 0 < k < min(len(a), len(b)):
            found.add(a[:k])
    return found


def reused_tokens(prompts: list[Prompt]) -> list[int]:
    """Per prompt, the longest beginning it shares with any prompt before it."""
    found = []
    for i, prompt in enumerate(prompts):
        found.append(max((_shared(prompt, earlier) for earlier in prompts[:i]), default=0))
    return found


def _shared(a: Prompt, b: Prompt) -> int:
    shared = 0
    for (name_a, ids_a), (name_b, ids_b) in zip(a, b, strict=False):
        if name_a == name_b:
            shared += len(ids_a)
            continue
        for x, y in zip(ids_a, ids_b, strict=False):
            if x != y:
                break
            shared += 1
        break
    return shared
