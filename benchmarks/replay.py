"""A group of rollouts through a model, flat and as a tree, by how much the rollouts share.

Needs forkpoint[replay]. Run as a process, ``python replay.py POR LAYERS REPEATS`` measures one group and
prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from cases import Case, Context, Disagreement, Result, Sample
from measure import CommandFailed, run

NAME = "replay"
_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)
_SEQUENCES, _LENGTH = 16, 128
_LAYERS = 30


def measure(context: Context) -> list[Result]:
    """Time 16 rollouts of 128 tokens, with ever longer prompts, through a model of random weights in
    the shape of SmolLM2-135M (fewer layers at a scale below 1).

    Each process measures one group in three ways in turn, after one round that is checked and not
    counted. Peak memory is that of tensors, beside the weights.

    Raises:
        CommandFailed: the extra is not installed.
        Disagreement: a way to run the tree gives other likelihoods.
    """
    if find_spec("torch") is None:
        raise CommandFailed('replay: pip install "forkpoint[replay]"')
    layers = max(2, round(_LAYERS * min(context.scale, 1.0)))
    results: list[Result] = []
    for overlap in _OVERLAPS:
        context.say(f"{NAME}: POR {overlap}, {context.repeats} runs of each way")
        command = [sys.executable, __file__, str(overlap), str(layers), str(context.repeats)]
        answer = json.loads(run(command).stdout)
        if not answer["agrees"]:
            raise Disagreement(f"replay: POR {overlap}: {answer['differences']} nats apart")
        results += _results(overlap, command, answer)
    return results


def _results(overlap: float, command: list[str], answer: dict[str, Any]) -> list[Result]:
    found: dict[str, Result] = {}
    for mode, rounds in answer["rounds"].items():
        case = Case(NAME, f"POR {overlap}, {mode}", command, inner=True)
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


def measure_group(overlap: float, layers: int, repeats: int) -> dict[str, Any]:
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
        run_flat,
        run_packed,
        run_trie,
    )
    from forkpoint.analysis.replay_model import LoadedModel
    from forkpoint.analysis.replay_tree import plan_packs, plan_tree

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49_152,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    model = LoadedModel(transformers.LlamaForCausalLM(config).eval())
    # N rollouts that share P of L tokens have a POR of (N - 1) P / N L.
    shared = round(overlap * _LENGTH * _SEQUENCES / (_SEQUENCES - 1))
    numbers = np.random.default_rng(0)
    prompt = numbers.integers(0, 49_152, shared)
    rests = [numbers.integers(0, 49_152, _LENGTH - shared) for _ in range(_SEQUENCES)]
    pieces = [Piece(np.r_[prompt, rest].astype(np.uint32), shared) for rest in rests]
    checked = execute_tree(model, pieces)
    tree = plan_tree(pieces)
    packs = plan_packs(tree, checked.shape.pack_limit)
    ways: dict[str, Callable[[], object]] = {
        FLAT: lambda: run_flat(model, pieces),
        TRIE: lambda: run_trie(model, tree, pieces),
        PACKED: lambda: run_packed(model, tree, packs, pieces),
    }
    rounds: dict[str, list[tuple[float, float]]] = {mode: [] for mode in ways}
    for _ in range(repeats):
        for mode, way in ways.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            way()
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
    print(json.dumps(measure_group(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
