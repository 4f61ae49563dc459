"""What an OpenHands run's ``metrics`` say of its calls; see `openhands`."""

from __future__ import annotations

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.litellm_response import known_cost
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.records import Call, Kind, Tokens, Usage


class _TokenUsage(msgspec.Struct):
    model: str | None = None
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    cache_read_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    response_id: str = ""

    @property
    def usage(self) -> Usage:
        """The counts; the input includes what was cached, unless that exceeds it."""
        total = self.prompt_tokens
        cached = self.cache_read_tokens + self.cache_write_tokens
        return Usage(
            input_tokens=total + cached if cached > total else total,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=self.completion_tokens,
        )


class _Cost(msgspec.Struct):
    cost: float | None = None


class Metrics(msgspec.Struct):
    """A run's ``metrics``."""

    costs: list[_Cost | float] | None = None
    token_usages: list[_TokenUsage] | None = None


def with_metrics(calls: list[Call], metrics: Metrics, hidden: Call, tree: Tree) -> list[Call]:
    """The calls with what the metrics say of each, and those that only the metrics know of.

    Args:
        hidden: a call of the run, without what the metrics say; it gives those their place.

    Raises:
        ValueError: a cost is negative or not finite.
    """
    calls = _with_usages(calls, metrics.token_usages or [], hidden, tree)
    costs = [cost if isinstance(cost, float) else cost.cost for cost in metrics.costs or ()]
    if len(costs) != len(calls):
        return calls
    return [
        msgspec.structs.replace(call, logged_cost_usd=known_cost(cost))
        for call, cost in zip(calls, costs, strict=True)
    ]


def _with_usages(
    calls: list[Call], entries: list[_TokenUsage], hidden: Call, tree: Tree
) -> list[Call]:
    """Calls and entries side by side: by response id, and what stands between two known ones by
    order, if it is as many of both."""
    places = {entry.response_id: at for at, entry in enumerate(entries) if entry.response_id}
    found: list[Call] = []
    without_id: list[Call] = []
    start = 0
    for call in (*calls, None):
        if call is not None and call.identity is not None and call.identity[0]:
            without_id.append(call)
            continue
        known = None if call is None or call.identity is None else call.identity[1]
        end = len(entries) if known is None else places.get(known, start)
        between = entries[start:end]
        if len(between) == len(without_id):
            pairs = zip(without_id, between, strict=True)
            found += [_filled(each, entry) for each, entry in pairs]
        else:
            found += [_hidden(hidden, entry, tree) for entry in between] + without_id
        without_id = []
        if call is not None:
            found.append(call)
            start = max(start, end + (known in places))
    return found


def _hidden(call: Call, entry: _TokenUsage, tree: Tree) -> Call:
    """A call that was billed but that no event came of."""
    name = f"prompt of a call of OpenHands {entry.response_id or call.trace}"
    prompt = tree.extend(ROOT, Kind.UNLOGGED, "", name)
    return _filled(msgspec.structs.replace(call, prompt=prompt), entry)


def _filled(call: Call, entry: _TokenUsage) -> Call:
    """A call with the usage of an entry."""
    model = model_name(entry.model)
    return msgspec.structs.replace(
        call,
        usage=entry.usage,
        identity=("", entry.response_id) if entry.response_id else call.identity,
        provider=call.provider or model.provider,
        model=call.model or model.model,
    )
