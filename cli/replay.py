"""``replay``: what its options mean, and how the answer is shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

import typer

from forkpoint.analysis.replay_choices import Dtype, Engine, ServerApi
from forkpoint.analysis.replay_results import LoggedAgreement, ReplayAnswer
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import flow, output_width, print_lines
from forkpoint.cli.numbers import count, duration, figure, percent, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import PATHS, Line, labelled, next_lines
from forkpoint.cli.text import plain

if TYPE_CHECKING:
    from forkpoint.analysis.replay_backend import Backend


DEFAULT_TOP = 5
DEFAULT_BOUNDING_TOP = 20
"""Where entropies are only bounded by the likeliest tokens, more of them bound better."""

_MAX_SHOWN = 200


def check_together(
    *, model: str | None, server: str | None, engine: Engine, server_api: ServerApi
) -> None:
    """Refuse options that have no effect, or no meaning, beside each other.

    Raises:
        typer.BadParameter: neither a model nor a server is named, or an option of one goes with the
            other.
    """
    if model is None and server is None:
        raise typer.BadParameter("name a --model, or a --server that runs one")
    if server is not None and engine is not Engine.TRANSFORMERS:
        raise typer.BadParameter("--backend is for models in this process: leave out --server")
    if server is None and server_api is not ServerApi.AUTO:
        raise typer.BadParameter("--server-api needs a --server")


def make_backend(
    *,
    model: str | None,
    server: str | None,
    server_api: ServerApi,
    engine: Engine,
    device: str,
    dtype: Dtype,
    top: int | None,
    seed: int,
    batch_tokens: int | None,
    timeout_s: float,
    allow_download: bool,
) -> Backend:
    """The backend that the options describe. Importing it does not load a model.

    Raises:
        ForkpointError: it is not installed, the model cannot be found, or the server not reached.
    """
    if server is not None:
        from forkpoint.analysis.replay_server import Server, ServerBackend

        return ServerBackend(
            Server(server, timeout_s),
            model=model,
            api=server_api.value,
            top=DEFAULT_BOUNDING_TOP if top is None else top,
            seed=seed,
            batch_tokens=batch_tokens,
        )
    assert model is not None
    from forkpoint.analysis.replay_backend import INSTALL_VLLM, require
    from forkpoint.analysis.replay_source import find_model

    if engine is Engine.VLLM:
        require(("vllm",), "replaying with vLLM", INSTALL_VLLM)
    else:
        require(("torch", "transformers", "accelerate"), "replaying a local model")

    if engine is Engine.VLLM:
        from forkpoint.analysis.replay_vllm import VllmBackend

        return VllmBackend(
            find_model(model, allow_download=allow_download),
            dtype=dtype.value,
            seed=seed,
            top=DEFAULT_BOUNDING_TOP if top is None else top,
            batch_tokens=batch_tokens,
        )
    from forkpoint.analysis.replay_model import TransformersBackend

    return TransformersBackend(
        find_model(model, allow_download=allow_download),
        device=device,
        dtype=dtype.value,
        seed=seed,
        top=DEFAULT_TOP if top is None else top,
        batch_tokens=batch_tokens,
    )


def write_replay(
    answer: ReplayAnswer,
    form: PlainFormat,
    out: TextIO,
    *,
    paths: list[str],
    store: str | None = None,
) -> None:
    """What was measured, what was left out and why, and how far it agrees with the logs.

    Args:
        paths, store: repeated in the command that the screen proposes.
    """
    if form is PlainFormat.JSON:
        from forkpoint import __version__

        write_json(exact({"format": FORMAT, "forkpoint": __version__, **asdict(answer)}), out)
        return
    width = output_width(out)
    lines: list[Line] = []
    for label, parts in (
        ("Model", _model(answer)),
        ("Measured", _measured(answer)),
        ("This run", _this_run(answer)),
        ("A token", _typical(answer)),
        ("Cached", _cached(answer)),
        ("Logged", _agreement(answer.agreement)),
        ("Left out", _skipped(answer)),
    ):
        if parts:
            lines += labelled(label, parts, width)
    lines += ["", *_next(answer, paths, store, width)]
    print_lines(lines, out)


def _model(answer: ReplayAnswer) -> list[str]:
    parts = [plain(answer.model, _MAX_SHOWN), answer.backend]
    parts += [each for each in (answer.dtype, answer.device) if each is not None]
    if answer.model_sha256 is not None:
        parts.append(f"SHA-256 {answer.model_sha256[:12]}…")
    return parts


def _measured(answer: ReplayAnswer) -> list[str]:
    if not answer.completions:
        return ["nothing: no completion here can be run"]
    parts = [
        f"{count(answer.tokens, 'generated token')} of {count(answer.completions, 'completion')}"
    ]
    parts += [f"{n:,} from {evidence}" for evidence, n in answer.by_evidence.items()]
    if answer.prompts:
        parts.append(f"{count(answer.prompt_tokens, 'token')} of {count(answer.prompts, 'prompt')}")
    return parts


def _this_run(answer: ReplayAnswer) -> list[str]:
    if not answer.run_tokens:
        return ["nothing: all of it was measured before"] if answer.completions else []
    speed = answer.run_tokens / answer.model_seconds if answer.model_seconds else None
    return [
        count(answer.new_completions, "completion"),
        f"{tokens(answer.run_tokens)} tokens through the model, prompts included",
        duration(answer.seconds),
        f"{figure(speed)} tokens/s",
    ]


def _typical(answer: ReplayAnswer) -> list[str]:
    parts = []
    if answer.mean_entropy_nats is not None:
        parts.append(f"mean entropy {answer.mean_entropy_nats:.3f} nats, over the whole vocabulary")
    if answer.tokens > answer.whole_tokens:
        bounded = answer.tokens - answer.whole_tokens
        parts.append(f"of {count(bounded, 'token')} the likeliest are known: entropies are bounded")
    if answer.mean_surprisal_nats is not None:
        parts.append(f"mean surprisal of the logged tokens {answer.mean_surprisal_nats:.3f} nats")
    return parts


def _cached(answer: ReplayAnswer) -> list[str]:
    if answer.cached_tokens is None or not answer.cacheable_tokens:
        return []
    share = answer.cached_tokens / answer.cacheable_tokens
    served = f"{tokens(answer.cached_tokens)} of {tokens(answer.cacheable_tokens)} tokens"
    return [f"{served} ({percent(share)}) came from the engine's prefix cache in a second pass"]


def _agreement(found: LoggedAgreement | None) -> list[str]:
    if found is None or found.max_logprob_difference is None:
        return []
    typical, most = found.median_logprob_difference, found.max_logprob_difference
    parts = [
        f"{count(found.tokens, 'token')} with logprobs of their own",
        f"they differ by {_small(typical)} nats (median), {_small(most)} at most",
    ]
    if found.entropy_tokens:
        parts.append(f"entropies by {_small(found.max_entropy_difference)} at most")
    return parts


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}" if 0 < value < 1e-3 else f"{value:.3g}"


def _skipped(answer: ReplayAnswer) -> list[str]:
    """What is not measured, or not as it was."""
    unseen = []
    if answer.without_tools:
        behind = count(answer.without_tools, "completion")
        unseen.append(f"tools of the prompts of {behind}: the chat template does not write them")
    return unseen + [
        f"{count(n, 'completion')}: {plain(reason, _MAX_SHOWN)}"
        for reason, n in answer.skipped.items()
    ]


def _next(answer: ReplayAnswer, paths: list[str], store: str | None, width: int) -> list[Line]:
    if not answer.completions:
        return [*flow(["forkpoint replay --help says what can be run"], width)]
    proposals = [(("forks", PATHS), "for where the model was unsure")]
    return next_lines(proposals, paths=paths, store=store, width=width)
