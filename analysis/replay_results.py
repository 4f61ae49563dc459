"""What a replay hands to reporters. Nats; ``None`` is a figure that cannot be given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoggedAgreement:
    """How far the model agrees with logprobs that the logs hold of the same tokens. A model that
    sampled them, run with the same precision, differs in the last decimals; another one by far."""

    tokens: int
    """Tokens whose id and logprob were logged."""
    median_logprob_difference: float | None
    """|logged - replayed|, as the next."""
    p99_logprob_difference: float | None
    max_logprob_difference: float | None
    entropy_tokens: int
    """Of them, those whose whole entropy was logged, and replayed."""
    median_entropy_difference: float | None
    max_entropy_difference: float | None


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """What a replay measured in the scope, and what it left out."""

    replay_id: str
    model: str
    model_sha256: str | None
    tokenizer: str | None
    vocabulary_size: int | None
    backend: str
    dtype: str | None
    device: str | None
    seed: int
    versions: dict[str, str]
    settings: dict[str, object]
    completions: int
    """Measured, now or before."""
    new_completions: int
    """Of them, those of this run."""
    by_evidence: dict[str, int]
    """Completions by what the logs had of them: token ids, messages or text."""
    skipped: dict[str, int]
    """Completions left out, by reason."""
    without_tools: int
    """Completions measured behind prompts whose tools, or tool calls, the chat template leaves out."""
    tokens: int
    """Generated tokens measured, now or before."""
    prompts: int
    """Prompts whose own tokens are measured; 0 unless asked for."""
    prompt_tokens: int
    """Their tokens."""
    whole_tokens: int
    """Of `tokens`, those whose entropy is known whole; of the others, bounds are."""
    mean_entropy_nats: float | None
    """Of those known whole."""
    mean_surprisal_nats: float | None
    """-ln p of the logged tokens."""
    run_tokens: int
    """Tokens that this run put through the model, prompts included."""
    seconds: float
    """Of it; loading the model included."""
    model_seconds: float
    """Of them, those in the model, loading left out."""
    cached_tokens: int | None
    """What an engine took from its prefix cache in a pass of its own, of all tokens of the sequences."""
    cacheable_tokens: int | None
    agreement: LoggedAgreement | None
    """``None``: the logs hold no logprobs of these tokens."""
