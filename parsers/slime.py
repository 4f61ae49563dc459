"""slime debug rollouts: the samples of one step as ``torch.save`` writes them (``*.pt``).

Value: ``{"rollout_id": int, "samples": [{…}, …]}``, where a sample is `Sample.to_dict` of
github.com/THUDM/slime (624b824, ``slime/utils/types.py``), written with
``--save-debug-rollout-data`` or ``--dump-details``. What to know about it:

- The file holds a pickle, which is read as plain data only: see `forkpoint.parsers.plain_pickle`.
  What a sample holds beside plain data and tensors (images, objects of an environment) is left
  out, and named in an issue.
- ``tokens`` are prompt and response; the last ``response_length`` of them are the response, and
  ``loss_mask`` and ``rollout_log_probs`` stand beside these. Where the mask is 0 the environment
  spoke: each run of ones is a call. Without a mask the whole response is one.
- A sample that was aborted before it got tokens has text only.
- ``group_index`` counts in one run, so it names a group within its file only. Samples that share a
  ``rollout_id`` are parts of one rollout, and one trace.
- ``reward`` may be a dict; its ``score`` or ``reward`` is then the reward, and ``pred`` the answer.
- ``prefix_cache_info`` adds up what the engine reported for all of a sample's calls: it is a call's
  usage where the sample is one call. All zeros mean unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from forkpoint.parsers.base import Tree, text_bytes
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, describe
from forkpoint.parsers.pickled_numbers import Items
from forkpoint.parsers.plain_pickle import OPAQUE, PlainPickle, Refused, Tensor
from forkpoint.parsers.records import Issue, Record, Trace, Usage
from forkpoint.parsers.sample_rows import Sample, SampleTree, content_digest, number_of
from forkpoint.parsers.sampled_messages import conversation_records
from forkpoint.parsers.sampled_runs import Run, SampledIds, rollout_records, sampled_runs
from forkpoint.parsers.torch_file import LEGACY_MAGIC, TorchFile

_BEGINNING = re.compile(
    rb"\}(?:q.|\x94)?\(?(?:X\n\0\0\0|\x8c\n)rollout_id.{1,16}?(?:X\x07\0\0\0|\x8c\x07)samples",
    re.DOTALL,
)
"""A dict whose first keys are these, in protocol 2 or 4."""
MAX_MESSAGE_VALUES = 100_000
"""Values that one sample's prompt of messages may have."""


class Slime:
    """Reads slime's debug rollouts; see the module's docstring."""

    name: ClassVar[str] = "slime"
    title: ClassVar[str] = "slime debug rollouts"
    checked: ClassVar[str] = "slime 624b824, torch 2.13, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "token ids", "text", "rewards", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _BEGINNING.search(head.data, 0, 4096) is None:
            return None
        if head.data.startswith(LEGACY_MAGIC):
            return "a torch file without an archive, with rollout_id and samples"
        if any(name.endswith("/data.pkl") for name in head.zip_members):
            return "a torch archive with rollout_id and samples"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout for each sample, and a call for each run of sampled tokens."""
        whole = Line(b"", 1, 0)
        try:
            log.end = log.path.stat().st_size
            if _is_legacy(log):
                raise ValueError(
                    "a torch file in the format before torch 1.6; save it again with a newer torch"
                )
            with TorchFile(log.path) as file:
                yield from _Samples(file, tree).records()
        except (*BAD_RECORD, OSError) as error:
            yield whole.issue(error)


def _is_legacy(log: Log) -> bool:
    with open(log.path, "rb") as stream:
        return stream.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC


class _Samples:
    """The samples of one file."""

    def __init__(self, file: TorchFile, tree: Tree) -> None:
        self._file = file
        self._tree = tree
        self._texts = SampleTree(tree)
        self._scope = ""

    def records(self) -> Iterator[Record]:
        """Everything the file gives.

        Raises:
            ValueError, OSError: it gives nothing.
        """
        data = self._file.pickle()
        self._scope = hashlib.sha256(data).hexdigest()[:16]
        pickle = PlainPickle(data)
        value = pickle.value()
        del data
        for name, at in pickle.refused.items():
            yield Issue(line=1, offset=0, reason=f"not plain data: {_one_line(name)}, byte {at}")
        samples = value.get("samples") if isinstance(value, dict) else None
        if not isinstance(samples, Items) or samples.numbers is not None:
            raise ValueError("no list of samples")
        for number, sample in enumerate(samples, 1):
            place = Line(b"", number, 0)
            try:
                records = list(self._sample(sample, place))
            except (*BAD_RECORD, OSError) as error:
                yield place.issue(f"sample {number}: {describe(error)}")
                continue
            yield from records

    def _sample(self, sample: Any, place: Line) -> Iterator[Record]:
        if not isinstance(sample, dict):
            raise Refused("it is no dict")
        rollout, group = _whole(sample, "rollout_id"), _whole(sample, "group_index")
        part = f"{place.line}" if rollout is None else f"r{rollout}"
        ids = self._ids(sample)
        reward, answer = self._outcome(sample.get("reward"))
        prompt = sample.get("prompt")
        trace = Trace(
            id=f"{self._scope}/{part}",
            group=f"{self._scope}/{_group(group, prompt, part)}",
            reward=reward,
            answer=answer,
        )
        turn = f"{place.line}."
        trace, *calls = self._as_text(prompt, sample.get("response"), trace, place, turn)
        if not ids:
            return iter([trace, *calls])
        sampled = self._sampled(sample, ids)._replace(
            text=trace.leaf,
            text_start=text_bytes(_text(prompt)) if type(prompt) is str else None,
        )
        return rollout_records(self._tree, sampled, trace, place, turn)

    def _as_text(
        self, prompt: Any, response: Any, trace: Trace, place: Line, turn: str
    ) -> tuple[Trace, *tuple[Record, ...]]:
        """The rollout and its calls as text. Raises ValueError: messages that are none."""
        response = _text(response) if type(response) is str else ""
        if isinstance(prompt, Items):
            messages, _ = _plain(prompt, MAX_MESSAGE_VALUES)
            given = len(messages)
            if response:
                messages.append({"role": "assistant", "content": response})
            raws = [msgspec.Raw(msgspec.json.encode(message)) for message in messages]
            return conversation_records(self._tree, raws, trace, place, n_given=given, turn=turn)
        row = Sample(
            prompt=_text(prompt) if type(prompt) is str else "",
            completion=response,
            reward=trace.reward,
            trace=trace.id,
            turn=turn,
            group=trace.group,
            unique_group=True,
            answer=trace.answer,
        )
        return self._texts.records(row, place, self._scope, "")

    def _sampled(self, sample: dict[str, Any], ids: list[int]) -> SampledIds:
        """The sample's ids, and which of them are the model's.

        Raises:
            ValueError: lists that should be of one length are not.
        """
        length = _whole(sample, "response_length") or 0
        if not 0 <= length <= len(ids):
            raise ValueError(f"response_length ({length}) exceeds the {len(ids)} tokens")
        start = len(ids) - length
        mask = self._numbers(sample, "loss_mask")
        logprobs = self._numbers(sample, "rollout_log_probs")
        for name, values in (("loss_mask", mask), ("rollout_log_probs", logprobs)):
            if values is not None and len(values) != length:
                raise ValueError(f"{len(values)} {name} for a response of {length} tokens")
        whole = [Run(start, len(ids))] if length else []
        runs = whole if mask is None else sampled_runs(mask, start)
        return SampledIds(
            ids=ids,
            runs=runs,
            logprobs=None if logprobs is None else [*[None] * start, *logprobs.tolist()],
            usage=_usage(sample.get("prefix_cache_info"), runs),
        )

    def _ids(self, sample: dict[str, Any]) -> list[int]:
        """The token ids. Raises ValueError: there is something else among them."""
        found = self._numbers(sample, "tokens")
        if found is None or not len(found):
            return []
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= 2**32:
            raise ValueError("tokens: not all are token ids")
        return list(found.tolist())

    def _numbers(self, sample: dict[str, Any], name: str) -> npt.NDArray[Any] | None:
        """A list or a tensor of numbers. Raises ValueError: it is something else."""
        value = sample.get(name)
        if value is None:
            return None
        if isinstance(value, Tensor):
            return self._file.array(value)
        if isinstance(value, Items):
            if value.numbers is not None:
                return value.numbers
            if all(type(item) is int and abs(item) < 2**63 for item in value):
                return np.array(value, dtype=np.int64)
            if all(type(item) in (int, float) for item in value):
                return np.array(value, dtype=np.float64)
        raise ValueError(f"{name}: neither a list nor a tensor of numbers")

    def _outcome(self, reward: Any) -> tuple[float | None, str | None]:
        """Reward and answer. Raises ValueError: the reward is no number."""
        answer = None
        if isinstance(reward, dict):
            answer = reward.get("pred")
            reward = reward.get("score", reward.get("reward"))
        if isinstance(reward, Tensor):
            reward = self._file.array(reward).tolist()
        if reward is OPAQUE or isinstance(reward, dict):
            return None, None
        return number_of(reward), answer if type(answer) is str else None


def _group(index: int | None, prompt: Any, part: str) -> str:
    """The group's name: its index, else the prompt's content. Without either a sample is alone."""
    if index is not None:
        return f"{index}"
    if type(prompt) is str and prompt:
        return content_digest(prompt.encode("utf-8", "surrogatepass"))
    if isinstance(prompt, Items) and prompt:
        return content_digest(msgspec.json.encode(_plain(prompt, MAX_MESSAGE_VALUES)[0]))
    return f"alone {part}"


def _whole(sample: dict[str, Any], name: str) -> int | None:
    """A whole number. Raises ValueError: it is something else."""
    value = sample.get(name)
    if value is not None and type(value) is not int:
        raise ValueError(f"{name}: not a whole number")
    return value


def _usage(info: Any, runs: list[Run]) -> Usage | None:
    """What the engine reported, if it is one call's: its prompt then has as many tokens."""
    if not isinstance(info, dict) or len(runs) != 1:
        return None
    total, cached = info.get("total_prompt_tokens"), info.get("cached_tokens")
    if type(total) is not int or type(cached) is not int or total != runs[0].start or not total:
        return None
    if cached < 0:
        raise ValueError("prefix_cache_info: fewer cached tokens than none")
    return Usage(
        input_tokens=total, cache_read_tokens=cached, output_tokens=runs[0].end - runs[0].start
    )


def _plain(value: Any, budget: int, depth: int = 0) -> tuple[Any, int]:
    """A value as JSON has it, and how much is left of the number of values it may have.

    Raises:
        ValueError: it has more, or is nested too deeply.
    """
    budget -= 1
    if budget < 0 or depth > 32:
        raise ValueError("prompt: messages nested too deeply, or of too many parts")
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            found[_text(key)], budget = _plain(item, budget, depth + 1)
        return found, budget
    if isinstance(value, Items):
        items = []
        for item in value:
            item, budget = _plain(item, budget, depth + 1)
            items.append(item)
        return items, budget
    if type(value) is str:
        return _text(value), budget
    return value if type(value) in (int, float, bool) else None, budget


def _text(value: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes U+FFFD."""
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:100]
