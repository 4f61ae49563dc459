"""A group of rollouts through a model, flat and as a tree, by how much the rollouts share.

Needs forkpoint[replay]. Run as a process, ``python replay.py LOAD POR LAYERS REPEATS`` measures one group
and prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from cases import Case, Context, Disagreement, Result, Sample
from measure import CommandFailed, run

NAME = "replay"
_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Load:
    """A model of random weights, and the group of rollouts of random ids that it runs."""

    device: str
    dtype: str
    width: int
    feed_forward: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    sequences: int
    length: int
    """Tokens of each sequence, prompt and completion."""


LOADS = {
    "135 M": Load("cpu", "float32", 576, 1536, 30, 9, 3, 49_152, 16, 128),
    "0.5 B": Load("cuda", "bfloat16", 896, 4864, 24, 14, 2, 151_936, 16, 8192),
    "1.5 B": Load("cuda", "bfloat16", 1536, 8960, 28, 12, 2, 151_936, 16, 8192),
}
"""In the shapes of SmolLM2-135M, Qwen2.5-0.5B and Qwen2.5-1.5B. A machine with CUDA runs those for
it, others the one for CPUs."""


def measure(context: Context) -> list[Result]:
    """Time 16 rollouts with ever longer prompts (fewer layers at a scale below 1).

    Each process measures one group in three ways in turn, after one round that is checked and not
    counted. Peak memory is that of tensors, beside the weights.

    Raises:
        CommandFailed: the extra is not installed.
        Disagreement: a way to run the tree gives other likelihoods.
    """
    if find_spec("torch") is None:
        raise CommandFailed('replay: pip install "forkpoint[replay]"')
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    results: list[Result] = []
    for name, load in LOADS.items():
        if load.device == device:
            results += _measure_load(name, load, context)
    return results


def _measure_load(name: str, load: Load, context: Context) -> list[Result]:
    layers = max(2, round(load.layers * min(context.scale, 1.0)))
    results: list[Result] = []
    for overlap in _OVERLAPS:
        context.say(f"{NAME}: {name}, POR {overlap}, {context.repeats} runs of each way")
        numbers = [str(overlap), str(layers), str(context.repeats)]
        command = [sys.executable, __file__, name, *numbers]
        answer = json.loads(run(command).stdout)
        if not answer["agrees"]:
            raise Disagreement(f"replay: POR {overlap}: {answer['differences']} nats apart")
        results += _results(f"{name}, POR {overlap}", command, answer)
    return results


def _results(name: str, command: list[str], answer: dict[str, Any]) -> list[Result]:
    found: dict[str, Result] = {}
    for mode, rounds in answer["rounds"].items():
        case = Case(NAME, f"{name}, {mode}", command, inner=True)
        found[mode] = Result(case, reference=found.get("flat"))
        found[mode].samples = [
            Sample(wall, cpu, 0, {"tokens": answer["flat_tokens"]}, answer["peaks"][mode], None)
            for wall, cpu in rounds
        ]
    bound = answer["bound"]
    for mode, result in found.items():
        ratio = result.ratio(lambda sample: sample.wall_s)
        if ratio is not None:
            speedup = 1 / ratio[0]
            share = (speedup - 1) / (bound - 1)
            result.note = (
                f"{speedup:.2f} × as fast, bound {bound:.2f}: efficiency {share:.0%}; "
                f"apart by {answer['differences'][mode]:.1e} nats at most"
            )
    return list(found.values())


def measure_group(load: Load, overlap: float, layers: int, repeats: int) -> dict[str, Any]:
    """Run one group. What is imported here, run.py does not need."""
    import numpy as np
    import torch
    import transformers

    from forkpoint.analysis.replay_backend import Piece
    from forkpoint.analysis.replay_execution import (
        FLAT,
        PACKED,
        TRIE,
        execute_tree,
        packing_of,
        run_flat,
        run_packed,
        run_trie,
    )
    from forkpoint.analysis.replay_model import LoadedModel
    from forkpoint.analysis.replay_tree import plan_packs, plan_tree

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=load.width,
        intermediate_size=load.feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=load.heads,
        num_key_value_heads=load.key_value_heads,
        vocab_size=load.vocabulary,
        max_position_embeddings=load.length,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    network = transformers.LlamaForCausalLM(config).to(load.device, getattr(torch, load.dtype))
    model = LoadedModel(network.eval())
    # N rollouts that share P of L tokens have a POR of (N - 1) P / N L.
    n, length = load.sequences, load.length
    shared = round(overlap * length * n / (n - 1))
    numbers = np.random.default_rng(0)
    prompt = numbers.integers(0, load.vocabulary, shared)
    rests = [numbers.integers(0, load.vocabulary, length - shared) for _ in range(n)]
    pieces = [Piece(np.r_[prompt, rest].astype(np.uint32), shared) for rest in rests]
    checked = execute_tree(model, pieces)
    tree = plan_tree(pieces)
    packs = plan_packs(tree, packing_of(model))
    ways: dict[str, Callable[[], object]] = {
        FLAT: lambda: run_flat(model, pieces),
        TRIE: lambda: run_trie(model, tree, pieces),
        PACKED: lambda: run_packed(model, tree, packs, pieces),
    }
    rounds: dict[str, list[tuple[float, float]]] = {mode: [] for mode in ways}
    for _ in range(repeats):
        for mode, way in ways.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            way()  # its figures are on the CPU, so the device is done
            rounds[mode].append((time.perf_counter() - began, time.process_time() - cpu_began))
    return {
        "rounds": rounds,
        "peaks": {each.mode: each.peak_bytes for each in checked.runs},
        "differences": {each.mode: each.max_logprob_difference for each in checked.runs},
        "agrees": checked.agrees,
        "bound": checked.shape.bound,
        "flat_tokens": checked.shape.flat_tokens,
    }


if __name__ == "__main__":
    chosen, overlap, layers, repeats = sys.argv[1:]
    print(json.dumps(measure_group(LOADS[chosen], float(overlap), int(layers), int(repeats))))
