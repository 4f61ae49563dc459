"""Writes rollout_2.pt: 3 prompts x 4 samples with token ids and logprobs, as slime saves a rollout with
torch. The archive is written without torch: a pickle with persistent ids, and the tensors' bytes.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Vocabulary

SYSTEM = "<|user|>You sort the post of a village. "
QUESTIONS = [
    "Where does a parcel for the mill go?",
    "Is a letter of 60 g heavy?",
    "Sort three cards.",
]
ANSWERS = ["To the mill.", "To the mill, by cart.", "No.", "Yes, it is.", "By name.", "By street."]
TOOL = "<|tool|>cards: Adam, Bela, Cyd"


def torch_stand_ins() -> types.ModuleType:
    """Names for the pickle to refer to: only what they are called matters."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = type("IntStorage", (), {"__module__": "torch"})
    torch.IntStorage = storage

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules |= {"torch": torch, "torch._utils": utils}
    return torch


TORCH = torch_stand_ins()


class Storage:
    """A tensor's numbers, which stand outside of the pickle."""

    def __init__(self, key: str, values: list[int]) -> None:
        self.key, self.values = key, values


class Tensor:
    """A one-dimensional tensor of 32-bit integers."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        size = len(self.storage.values)
        build = sys.modules["torch._utils"]._rebuild_tensor_v2
        return build, (self.storage, 0, (size,), (1,), False, OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            return "storage", TORCH.IntStorage, value.key, "cpu", len(value.values)
        return None


def words_of(text: str) -> list[str]:
    """What stands between white space, special tokens apart from what follows them."""
    return text.replace("|>", "|> ").split()


def sample(words: Vocabulary, group: int, number: int, storages: list[Storage]) -> dict[str, Any]:
    prompt = f"{SYSTEM}{QUESTIONS[group]}<|assistant|>"
    answer = ANSWERS[2 * group + (number % 4 == 2)]
    given, turns = words.encode(prompt), [f"{answer}<|end|>"]
    if group == 2:
        turns = ["LIST<|end|>", TOOL + "<|assistant|>", *turns]
    aborted = group == 1 and number == 3
    tokens, mask, logprobs = list(given), [], []
    for place, turn in enumerate([] if aborted else turns):
        ids, made = words.encode(turn), place % 2 == 0
        tokens += ids
        mask += [int(made)] * len(ids)
        logprobs += [-((id_ * (number + 1)) % 89) / 64 if made else 0.0 for id_ in ids]
    kept = Storage(str(len(storages)), [0, *range(1, len(mask) + 1)])
    storages.append(kept)
    alone = group < 2 and not aborted
    return {
        "group_index": 8 + group,
        "index": 4 * (8 + group) + number,
        "rollout_id": None,
        "prompt": prompt,
        "tokens": [] if aborted else tokens,
        "multimodal_inputs": None,
        "response": "" if aborted else "".join(turns),
        "response_length": len(mask),
        "label": ANSWERS[2 * group],
        "reward": {"score": float(answer == ANSWERS[2 * group]), "pred": answer},
        "loss_mask": mask if group == 2 else None,
        "weight_versions": ["2"],
        "rollout_log_probs": None if aborted else logprobs,
        "rollout_top_p_token_offsets": Tensor(kept),
        "remove_sample": False,
        "status": "aborted" if aborted else "completed",
        "metadata": {"street": group},
        "spec_info": {"spec_accept_token_num": 0, "spec_draft_token_num": 0},
        "prefix_cache_info": {
            "cached_tokens": (len(given) - 2) * (number > 0) if alone else 0,
            "total_prompt_tokens": len(given) if alone else 0,
        },
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    # Ids far apart, as in a large vocabulary.
    words, storages = Vocabulary(first=7, step=2213, split=words_of), []
    samples = [sample(words, group, number, storages) for group in range(3) for number in range(4)]
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({"rollout_id": 2, "samples": samples})
    members = {"data.pkl": stream.getvalue(), "byteorder": b"little"}
    for storage in storages:
        members[f"data/{storage.key}"] = struct.pack(f"<{len(storage.values)}i", *storage.values)
    members["version"] = b"3\n"
    with zipfile.ZipFile(folder / "rollout_2.pt", "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(f"rollout_2/{name}")
            info.create_system = 3  # else it says on which system it was written
            archive.writestr(info, data)


if __name__ == "__main__":
    main()
