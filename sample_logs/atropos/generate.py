"""Writes lift-control.jsonl: five rollout groups of an invented lift-steering environment.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Dice, Vocabulary

MASKED, MASKED_LOGPROB, GROUP_SIZE = -100, 1.0, 4
SYSTEM = (
    "You steer a lift in a house with nine floors . Answer with one move : up , down or open . "
    "Think first , then write the move after MOVE . Every second that a guest waits costs a point ."
)
THOUGHTS = (
    "The guest is above me , so I go up .",
    "The nearest call is above , up is right .",
    "Nobody waits here , I should not open the door .",
    "The doors are open already and the guest is in .",
)
HEADER_IDS = {"system": 3, "environment": 4, "agent": 5}
BEGIN, HEADER_END, TURN_END = 1, 2, 6


def tokens_of(text: str, *, split: bool) -> list[str]:
    """The text's words. With `split`, the last one is two tokens."""
    words = text.split()
    if split:
        last = words.pop()
        words += [last[:1] + "##", "##" + last[1:]]
    return words


def sequence(
    words: Vocabulary, messages: list[dict[str, str]], *, split: bool
) -> tuple[list[int], list[int], list[int]]:
    """(ids, mask, numbers of the sampled turn's positions), the last message unmasked."""
    ids, start = [BEGIN], 0
    for place, message in enumerate(messages):
        last = place == len(messages) - 1
        ids += [HEADER_IDS[message["role"]], HEADER_END]
        start = len(ids)
        ids += [*words.ids(tokens_of(message["content"], split=split and last)), TURN_END]
    mask = [MASKED] * start + ids[start:]
    return ids, mask, list(range(start, len(ids)))


def group(words: Vocabulary, dice: Dice, seed: int, step: int) -> dict[str, Any]:
    """Four samples of one state; the last group's episode is over, so it ends with a result."""
    state = f"Floor {1 + seed % 4} . A guest waits on floor {5 + step + seed % 3} . Doors closed ."
    head = [
        {"role": "system", "content": SYSTEM},
        {"role": "environment", "content": state},
    ]
    for past in range(step):
        head.append({"role": "agent", "content": f"{THOUGHTS[past]} MOVE up"})
        head.append({"role": "environment", "content": f"Floor {2 + past + seed % 4} ."})
    over = step == 2
    found: dict[str, Any] = {
        name: [] for name in ("tokens", "masks", "scores", "inference_logprobs", "messages")
    }
    for sample in range(GROUP_SIZE):
        thought = 0 if sample == 3 else dice.below(len(THOUGHTS))
        move = ("up", "up", "open", "down")[dice.below(4) if sample < 3 else 0]
        messages = [*head, {"role": "agent", "content": f"{THOUGHTS[thought]} MOVE {move}"}]
        if over:
            messages.append(
                {"role": "environment", "content": "The guest has left by the stairs ."}
            )
        # The third sample of the first group repeats the fourth's words in other tokens.
        split = seed == 11 and step == 0 and sample == 2
        if split:
            messages[-1] = {"role": "agent", "content": f"{THOUGHTS[0]} MOVE up"}
        ids, mask, sampled = sequence(words, messages, split=split)
        logprobs = [MASKED_LOGPROB] * len(ids)
        for place in sampled:
            logprobs[place] = -round(math.ldexp(dice.below(1 << 12), -11) ** 2, 6)
        found["tokens"].append(ids)
        found["masks"].append(mask)
        score = 0.0 if over else {"up": 0.75, "open": -0.25, "down": -0.5}[move]
        found["scores"].append(score)
        found["inference_logprobs"].append(logprobs)
        found["messages"].append(messages)
    if over:
        found["inference_logprobs"] = None
    rest = {"ref_logprobs": None, "overrides": None, "group_overrides": None}
    return {"seed": seed, **found, **rest}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    words, dice = Vocabulary(), Dice(20261102)
    groups = [
        group(words, dice, seed, step)
        for seed, step in ((11, 0), (11, 1), (11, 2), (12, 0), (12, 1))
    ]
    lines = "".join(json.dumps(each) + "\n" for each in groups)
    (folder / "lift-control.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
