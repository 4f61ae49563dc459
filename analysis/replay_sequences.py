"""Which logged sequences a model can be made to run, and their tokens.

Each completion in scope is a sequence: its prompt, then what was generated. Evidence, best first:
token ids as logged, where they are this model's; messages, rendered with the model's chat template;
rendered text, as it is. What cannot be run is counted with the reason, never guessed at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from forkpoint.analysis.prompts import Prompts, load_prompts
from forkpoint.analysis.replay_backend import Codec, CodecError, TokenIds
from forkpoint.analysis.replay_chat import LoggedSegment, conversation, is_said, tool_names
from forkpoint.analysis.siblings import read_contents
from forkpoint.analysis.store import Store
from forkpoint.analysis.tokens import well_formed
from forkpoint.parsers.records import Kind

CHECKED_PER_MODEL = 200
"""Sequences of one logged model whose token ids are compared with their text, at most."""
MATCHING_SHARE = 0.9
"""Share of them that must decode to their text: some texts were decoded in parts, and differ where a
character fell on two of them; ids of another tokenizer hardly ever match."""

TOKEN_IDS, MESSAGES, TEXT = "token ids", "messages", "text"
_ROOT = UUID(int=0)


@dataclass(frozen=True)
class ReplaySequence:
    """One completion behind its prompt.

    Attributes:
        prompt, completion: the nodes where they end; by content, so the same in every log.
        ids: prompt and completion.
        prompt_tokens: how many of them are the prompt; fewer than all.
        evidence: `TOKEN_IDS`, `MESSAGES` or `TEXT`.
    """

    prompt: UUID
    completion: UUID
    ids: TokenIds
    prompt_tokens: int
    evidence: str
    without_tools: bool = False
    """The chat template left tools of the prompt out."""

    @property
    def completion_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.ids) - self.prompt_tokens


@dataclass
class Plan:
    """What a replay of the scope runs."""

    sequences: list[ReplaySequence] = field(default_factory=list)
    """By prompt, then completion."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Completions that are left out, by reason."""
    without_tools: int = 0
    """Of the sequences, those whose prompt has tools or tool calls that the model's chat template
    leaves out: the model is not shown all that the one that answered was."""


class Target(NamedTuple):
    """A completion in scope. Nodes are indices into the tree of `Prompts`."""

    prompt: UUID
    completion: UUID
    prompt_node: int
    completion_node: int
    text_node: int
    """Where its token ids end as text; 0: only one of them was logged."""
    model: str
    """As logged; empty where it is not."""
    has_prompt: bool


class _Skip(Exception):
    """Why a sequence is left out."""


_GONE = "the log cannot be read any more"
_OTHER_IDS = "token ids of another tokenizer"
_UNSURE_IDS = "token ids without their text: --trust-ids if they are this model's"
_APART = "prompt and completion do not fit together"


def find_targets(store: Store, *, only_missing: bool = False) -> list[Target]:
    """The distinct completions in scope (see `forkpoint.analysis.scope`), whose nodes
    `load_prompts` has numbered: of calls, and of rollouts that have no call of their own.

    Args:
        only_missing: leave out those whose log holds logprobs.
    """
    rows = store.rows(
        """
        WITH called AS (SELECT * FROM scope_calls WHERE completion IS NOT NULL),
        wanted AS (
            SELECT prompt, completion, text, model FROM called
            UNION ALL
            SELECT rollouts.prompt, leaf, NULL, calls.model
            FROM (SELECT * FROM scope_traces WHERE leaf IS NOT NULL AND group_id IS NOT NULL)
                AS rollouts ANTI JOIN called USING (trace_id)
            LEFT JOIN (SELECT prompt, max(model) AS model FROM scope_calls GROUP BY prompt) AS calls
                ON rollouts.prompt = calls.prompt
        )
        SELECT coalesce(prompt, $root) AS prompt, completion,
               any_value(coalesce(p.i, 0)), any_value(coalesce(c.i, 0)),
               max(coalesce(t.i, 0)), coalesce(max(model), ''), bool_or(prompt IS NOT NULL)
        FROM wanted
        LEFT JOIN scope_nodes AS p ON prompt = p.node
        LEFT JOIN scope_nodes AS c ON completion = c.node
        LEFT JOIN scope_nodes AS t ON wanted.text = t.node
        WHERE prompt IS DISTINCT FROM completion
          AND NOT ($only_missing AND EXISTS (
              FROM scores JOIN sources USING (source_id)
              WHERE NOT deleted AND scores.prompt = wanted.prompt
                AND scores.completion = wanted.completion
          ))
        GROUP BY ALL ORDER BY 1, 2
        """,
        {"root": _ROOT, "only_missing": only_missing},
    )
    return [Target(*row) for row in rows]


def plan_sequences(
    store: Store,
    codec: Codec,
    *,
    max_tokens: int | None = None,
    trust_ids: bool = False,
    only_missing: bool = False,
) -> Plan:
    """The sequences of the scope as the model's tokens. Logs are read again for their content.

    Args:
        max_tokens: the longest sequence that the model takes.
        trust_ids: logged token ids are the model's, whatever their text says.
        only_missing: leave out completions whose log holds logprobs.
    """
    prompts = load_prompts(store)
    targets = find_targets(store, only_missing=only_missing)
    logged = _Logged(store, prompts, targets)
    matching = {} if trust_ids else _matching_models(logged, codec, targets)
    builder = _Builder(logged, codec, trust_ids, matching)
    plan = Plan()
    for target in targets:
        try:
            sequence = builder.sequence(target)
            if max_tokens is not None and len(sequence.ids) > max_tokens:
                raise _Skip(f"more than the {max_tokens:,} tokens that the model takes")
        except _Skip as skip:
            plan.skipped[str(skip)] += 1
        else:
            plan.sequences.append(sequence)
            plan.without_tools += sequence.without_tools
    return plan


class _Logged:
    """What the logs hold of the targets: segments along their paths, with texts and ids."""

    def __init__(self, store: Store, prompts: Prompts, targets: Sequence[Target]) -> None:
        self._parent: list[int] = prompts.tree.parent.tolist()
        self.token_depth = prompts.token_depth
        nodes = {i for target in targets for i in self._all_nodes(target)}
        self._segments: dict[int, tuple[Any, str, str]] = {
            i: (segment, kind, role)
            for i, segment, kind, role in store.rows(
                "SELECT i, segment, kind, role FROM scope_nodes WHERE i IN (SELECT unnest(?))",
                [sorted(nodes)],
            )
        }
        readable = (target for target in targets if self.obstacle(target) is None)
        wanted = {self._segments[i][0] for target in readable for i in self._all_nodes(target)}
        self._texts, self._ids = read_contents(store, list(wanted))

    def obstacle(self, target: Target) -> str | None:
        """Why a target cannot be run, if that shows without reading it."""
        kinds = self.kinds(target.prompt_node) | self.kinds(target.completion_node)
        if not target.has_prompt or Kind.UNLOGGED in kinds:
            return "the log lacks part of the prompt"
        if Kind.BLOCK in kinds:
            return "only hashes of its tokens were logged"
        if Kind.MEDIA in kinds:
            return "it holds images or other media"
        if Kind.TOKENS in kinds and len(kinds) > 1:
            return "text and token ids take turns in it"
        return None

    def _all_nodes(self, target: Target) -> Iterator[int]:
        for end in (target.prompt_node, target.completion_node, target.text_node):
            yield from self.path(end)

    def path(self, node: int) -> list[int]:
        """The nodes from the root, which is left out, down to `node`."""
        found = []
        while node:
            found.append(node)
            node = self._parent[node]
        return found[::-1]

    def kinds(self, node: int) -> set[str]:
        """Kinds of segments on the path."""
        return {self._segments[i][1] for i in self.path(node)}

    def ids(self, node: int) -> TokenIds:
        """Logged token ids on the path."""
        parts = [np.zeros(0, dtype=np.uint32)]
        for i in self.path(node):
            part = self._ids.get(self._segments[i][0])
            if part is None:
                raise _Skip(_GONE)
            parts.append(part)
        return np.concatenate(parts)

    def texts(self, nodes: Sequence[int]) -> list[LoggedSegment]:
        """Segments of some nodes, with their texts."""
        found = []
        for i in nodes:
            segment, kind, role = self._segments[i]
            text = self._texts.get(segment)
            if text is None:
                raise _Skip(_GONE)
            # Halves of surrogate pairs, which JSON allows, are no text that a tokenizer takes.
            found.append(LoggedSegment(kind, role, text if text.isascii() else well_formed(text)))
        return found


def _matching_models(logged: _Logged, codec: Codec, targets: Sequence[Target]) -> dict[str, bool]:
    """Whether the token ids that some logged model's calls hold are those of `codec`, where ids were
    logged with their text; models of which neither can be told are left out."""
    checked: Counter[str] = Counter()
    matched: Counter[str] = Counter()
    for target in targets:
        if not target.text_node or checked[target.model] >= CHECKED_PER_MODEL:
            continue
        if logged.kinds(target.completion_node) != {Kind.TOKENS}:
            continue
        try:
            ids = logged.ids(target.completion_node)
            texts = logged.texts(logged.path(target.text_node))
            matches = _decodes_to(codec, ids, texts)
        except (_Skip, CodecError):
            continue
        checked[target.model] += 1
        matched[target.model] += matches
    return {model: matched[model] >= MATCHING_SHARE * n for model, n in checked.items()}


def _decodes_to(codec: Codec, ids: TokenIds, texts: Sequence[LoggedSegment]) -> bool:
    """Whether ids decode to what was logged as their text. Special tokens, which loggers leave out
    as they please, and white space, which some tokenizers add, do not count."""
    if _beyond(codec, ids):
        return False
    specials = codec.special_texts
    decoded = _bare(codec.decode(ids.tolist()), specials)
    if all(each.kind == Kind.RENDERED for each in texts):
        return decoded.startswith(_bare("".join(each.text for each in texts), specials))
    at = 0
    for each in texts:
        if each.kind in (Kind.TEXT, Kind.SYSTEM):
            text = _bare(each.text, specials)
            found = decoded.find(text, at)
            if found < 0:
                return False
            at = found + len(text)
    return True


def _beyond(codec: Codec, ids: TokenIds) -> bool:
    """Whether an id is none of the model's."""
    size = codec.vocabulary_size
    return size is not None and bool(len(ids)) and int(ids.max()) >= size


def _bare(text: str, specials: Sequence[str]) -> str:
    for special in specials:
        text = text.replace(special, "")
    return "".join(text.split())


class _Builder:
    """Makes one sequence after the other."""

    def __init__(
        self, logged: _Logged, codec: Codec, trust_ids: bool, matching: dict[str, bool]
    ) -> None:
        self._logged = logged
        self._codec = codec
        self._trust_ids = trust_ids
        self._matching = matching
        self._rendered: tuple[tuple[int, ...], list[int], bool] | None = None
        """The last prompt that was rendered, and whether without its tools: siblings follow each
        other."""

    def sequence(self, target: Target) -> ReplaySequence:
        """The sequence of a completion.

        Raises:
            _Skip: it cannot be run.
        """
        try:
            return self._sequence(target)
        except CodecError as error:
            raise _Skip(str(error)) from None

    def _sequence(self, target: Target) -> ReplaySequence:
        obstacle = self._logged.obstacle(target)
        if obstacle is not None:
            raise _Skip(obstacle)
        kinds = self._logged.kinds(target.prompt_node) | self._logged.kinds(target.completion_node)
        if kinds == {Kind.TOKENS}:
            return self._from_ids(target)
        if Kind.RENDERED in kinds:
            return self._from_text(target)
        path, above = self._split(target)
        return self._from_messages(target, above, path)

    def _from_ids(self, target: Target) -> ReplaySequence:
        ids = self._logged.ids(target.completion_node)
        prompt_tokens = int(self._logged.token_depth[target.prompt_node])
        if not np.array_equal(ids[:prompt_tokens], self._logged.ids(target.prompt_node)):
            raise _Skip(_APART)
        beyond = _beyond(self._codec, ids)
        if (self._trust_ids or self._matching.get(target.model, False)) and not beyond:
            return self._made(target, ids[:prompt_tokens], ids[prompt_tokens:], TOKEN_IDS)
        known = beyond or target.model in self._matching
        return self._from_text_beside(target, _OTHER_IDS if known else _UNSURE_IDS)

    def _from_text_beside(self, target: Target, otherwise: str) -> ReplaySequence:
        """Of ids that are no use: the messages logged beside them, which end in the assistant's."""
        nodes = self._logged.path(target.text_node)
        if not nodes or Kind.RENDERED in self._logged.kinds(target.text_node):
            raise _Skip(otherwise)  # one text does not say where the prompt ends
        segments = self._logged.texts(nodes)
        made = len(segments)
        while made and is_said(segments[made - 1]):
            made -= 1
        if not made or made == len(segments):
            raise _Skip(otherwise)
        return self._from_messages(target, nodes[:made], nodes[made:])

    def _from_text(self, target: Target) -> ReplaySequence:
        """Rendered prompts; what was generated is the rest of the text, or an assistant's text."""
        above = self._logged.texts(self._logged.path(target.prompt_node))
        whole = self._logged.texts(self._logged.path(target.completion_node))
        if any(each.kind not in (Kind.RENDERED, Kind.TEXT) for each in whole + above):
            raise _Skip("rendered text and tool calls take turns in it")
        prompt, text = ("".join(each.text for each in part) for part in (above, whole))
        if not text.startswith(prompt):
            raise _Skip(_APART)
        head = self._codec.encode(prompt, begin=True)
        made = self._codec.encode(text[len(prompt) :], begin=False)
        return self._made(target, head, made, TEXT)

    def _split(self, target: Target) -> tuple[list[int], list[int]]:
        """(nodes of the completion, nodes of the prompt)."""
        above = self._logged.path(target.prompt_node)
        whole = self._logged.path(target.completion_node)
        if whole[: len(above)] != above:
            raise _Skip(_APART)
        return whole[len(above) :], above

    def _from_messages(
        self, target: Target, above: Sequence[int], path: Sequence[int]
    ) -> ReplaySequence:
        said = self._logged.texts(path)
        if not all(map(is_said, said)):
            raise _Skip("somebody else speaks in the completion")
        head, without_tools = self._prompt(above)
        if all(each.kind == Kind.TEXT for each in said):
            # The end of the turn is not measured: the log does not say that it was sampled.
            made = self._codec.encode("".join(each.text for each in said), begin=False)
        else:
            made = self._continued(above, said, head)
        sequence = self._made(target, head, made, MESSAGES)
        return replace(sequence, without_tools=True) if without_tools else sequence

    def _prompt(self, above: Sequence[int]) -> tuple[list[int], bool]:
        if self._rendered is None or self._rendered[0] != tuple(above):
            messages, tools = conversation(self._logged.texts(above))
            ids = self._codec.chat(messages, tools, generation=True)
            names = tool_names(messages, tools)
            text = self._codec.decode(ids) if names else ""
            self._rendered = tuple(above), ids, any(name not in text for name in names)
        return self._rendered[1:]

    def _continued(
        self, above: Sequence[int], said: Sequence[LoggedSegment], head: list[int]
    ) -> list[int]:
        """Tool calls and thinking as the template writes them: what it adds to the prompt, up to the
        end of the turn."""
        before, _ = conversation(self._logged.texts(above))
        messages, tools = conversation([*self._logged.texts(above), *said])
        if len(messages) != len(before) + 1:
            raise CodecError("the completion goes on with a message of the prompt")
        whole = self._codec.chat(messages, tools, generation=False)
        if whole[: len(head)] != head:
            raise CodecError("the chat template writes the prompt anew behind it")
        made = whole[len(head) :]
        ends = [place for place, token in enumerate(made) if token in self._codec.end_ids]
        if not ends:
            raise CodecError("where the chat template ends a turn is not known")
        own = made[: ends[-1]]
        names = tool_names(messages[-1:], [])
        text = self._codec.decode(own) if names else ""
        if any(name not in text for name in names):
            raise CodecError("the chat template leaves tool calls out")
        return own

    def _made(
        self,
        target: Target,
        head: Sequence[int] | TokenIds,
        made: Sequence[int] | TokenIds,
        evidence: str,
    ) -> ReplaySequence:
        if not len(made):
            raise _Skip("no token was generated")
        parts = [np.asarray(each, dtype=np.uint32) for each in (head, made)]
        return ReplaySequence(
            target.prompt, target.completion, np.concatenate(parts), len(head), evidence
        )
