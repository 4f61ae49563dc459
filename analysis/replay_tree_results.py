"""What running a tree hands to reporters. ``None`` is a figure that cannot be given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TreeShape:
    """The sequences that were run, as a tree."""

    sequences: int
    stretches: int
    """Parts between forks."""
    depth: int
    """Tokens of the longest sequence."""
    flat_tokens: int
    """Sum of the sequences' lengths."""
    tree_tokens: int
    """The same where what is shared counts once."""
    packed_tokens: int
    """Tokens of all packs: the tree's, and the paths that packs begin with once more."""
    packs: int
    pack_limit: int
    """Tokens of a pack, as asked for; one sequence may be longer."""
    measured_tokens: int
    """Tokens whose likelihood was asked for, summed over the sequences."""
    por: float
    """Potential overlap ratio: 1 - tree / flat tokens."""
    err: float
    """Effective reuse ratio: 1 - packed / flat tokens."""
    bound: float
    """1 / (1 - POR): the speedup if time were proportional to tokens."""


@dataclass(frozen=True, slots=True)
class ExecutionRun:
    """One way to run the sequences."""

    mode: str
    """``flat``: each sequence alone. ``trie``: the tree, depth first, on the KV cache of the path.
    ``packed``: the tree in packs, each one sequence with an ancestor mask."""
    computed_tokens: int
    """Tokens that went through the layers, padding included."""
    forwards: int
    """How often the layers were run."""
    seconds: float
    """Median over `all_seconds`."""
    all_seconds: tuple[float, ...]
    peak_bytes: int | None
    """The most that was held beside the weights; ``None``: not measured."""
    speedup: float | None
    """Time of ``flat`` over this; ``None``: flat was not run, as the next three."""
    efficiency: float | None
    """(speedup - 1) / (bound - 1): 0 where nothing is gained, 1 at the bound, below 0 where it is
    slower. ``None`` also where nothing is shared."""
    max_logprob_difference: float | None
    """Greatest |difference from flat| over all measured tokens, nats."""
    max_entropy_difference: float | None


@dataclass(frozen=True, slots=True)
class TreeExecution:
    """A tree run in several ways."""

    model: str
    device: str
    dtype: str
    threads: int | None
    """Of the CPU; ``None`` on other devices."""
    memory: str
    """What `ExecutionRun.peak_bytes` counts."""
    shape: TreeShape
    runs: tuple[ExecutionRun, ...]
    tolerance: float
    """Up to which differences from flat are rounding, nats."""
    agrees: bool | None
    """Whether all differences are within it; ``None``: nothing was compared."""
    left_out: dict[str, int]
    """Completions that were not run, by reason."""


@dataclass(frozen=True, slots=True)
class BranchBudget:
    """What a number of generated tokens has bought; sums and means over the prompts."""

    tokens: int
    """Generated tokens that each prompt may have used."""
    samples: float
    """Finished samples a prompt."""
    distinct: float
    """Of them, distinct trajectories a prompt: the whole completion, what was kept included."""
    new: float
    """Of these, those that are not in the log."""
    mean_reward: float | None
    """Of all finished samples, mean over prompts that have any; ``None``: no scorer, or none."""
    best_reward: float | None
    """Greatest of a prompt's finished samples, mean over the same prompts."""


@dataclass(frozen=True, slots=True)
class BranchPolicy:
    """One way to choose where to sample again."""

    name: str
    """``entropy``: where the model was least sure; ``random``: anywhere; ``root``: at the prompt."""
    mean_entropy_nats: float | None
    """Of the points chosen; ``None`` for none."""
    mean_depth: float | None
    """How many of the completion's tokens a sample keeps."""
    generated_tokens: int
    prefill_tokens: int
    """Tokens run that were not generated here."""
    curve: tuple[BranchBudget, ...]
    """By rising budget."""


@dataclass(frozen=True, slots=True)
class BranchingExperiment:
    """Samples drawn again from points of logged completions, under one budget for all policies."""

    model: str
    prompts: int
    logged: int
    """Distinct logged completions of them."""
    budget_tokens: int
    """Generated tokens for each prompt and policy."""
    points: int
    """Places chosen for each prompt, at most."""
    temperature: float
    seed: int
    scorer: str | None
    policies: tuple[BranchPolicy, ...]
    left_out: dict[str, int]
    """Completions that were not used, by reason."""
