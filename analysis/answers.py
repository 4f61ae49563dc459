r"""Final answers of traces: taken from text, made comparable, and counted per group.

Equality of answers is equality of normalised text. It is no proof of mathematical equality: ``0.5`` and
``1/2``, ``2/4`` and ``1/2``, ``x+1`` and ``1+x`` stay different, so agreement is, if anything,
understated. Text is hostile: everything here takes time linear in its length (but for a pattern
that the user gives).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from forkpoint.analysis.tree import Floats, Ints
from forkpoint.analysis.votes import ORDERS, Estimate, answer_groups, arrivals, running_votes

# Quantifiers are bounded, or what they repeat cannot begin another match: no text is scanned twice.
_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\[{}]|[{}]")
_ANSWER_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_GAP = r"[\s*_:]{0,8}"
_LEAD_INS = tuple(
    re.compile(lead_in + _GAP, re.IGNORECASE | re.MULTILINE)
    for lead_in in (
        r"\bfinal\s{1,8}answer[*_]{0,2}(?:\s{1,8}is\b|\s{0,8}:)",
        r"\bthe\s{1,8}(?:correct\s{1,8})?answer\s{1,8}is\b",
        r"^[ \t*_#]{0,8}answer[*_]{0,2}[ \t]{0,8}:",
    )
)
# A period ends a sentence where white space follows; in "3.5" it does not. In "$5!$" nothing ends.
_SENTENCE_END = re.compile(
    r"""\.(?=[*_$"'”’)\]]{0,4}(?:\s|$))|[!?](?=[*_"'”’]{0,4}(?:\s|$))|[\r\n。]"""
)


def extract_answer(text: str, pattern: re.Pattern[str] | None = None) -> str | None:
    r"""The final answer that a text states, as it is written there.

    Tried in this order; the first that finds something decides, and within each the last one in the
    text:

    1. `pattern`: group 1 if it has one and it took part, else the whole match;
    2. ``\boxed{…}`` or ``\fbox{…}`` with balanced braces; of nested ones the innermost;
    3. ``#### 42``, at the end of a line: one word with a digit in it, so that Markdown headings
       are none (GSM8K's form);
    4. ``<answer>…</answer>``;
    5. "final answer is …", "final answer: …";
    6. "the answer is …", "the correct answer is …";
    7. a line that begins with "answer:".

    5 to 7 go up to the end of the sentence or line.

    Returns:
        Without white space around it, never empty; None if the text states none.

    >>> extract_answer(r"So \boxed{\frac{1}{2}}. The answer is 3.")
    '\\frac{1}{2}'
    """
    return (
        (find_pattern(text, pattern) if pattern else None)
        or _last_boxed(text)
        or _last_hashed(text)
        or _last_tagged(text)
        or next(filter(None, (_last_sentence(text, lead_in) for lead_in in _LEAD_INS)), None)
    )


def find_pattern(text: str, pattern: re.Pattern[str]) -> str | None:
    """What the pattern finds last: group 1 if it has one and it took part, else the whole match;
    without white space around it, never empty."""
    return _last(_matches(text, pattern))


def _matches(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for match in pattern.finditer(text):
        own = match.group(1) if pattern.groups else None
        yield match.group() if own is None else own


def _last(found: Iterator[str]) -> str | None:
    last = None
    for each in found:
        last = each.strip() or last
    return last


def _last_boxed(text: str) -> str | None:
    """Content of the box that begins last, of those whose braces balance."""
    last, last_begin = None, -1
    open_: list[int] = []  # where the content of each open box begins; -1: a brace of another kind
    for match in _BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token == "{":
            open_.append(-1)
        elif token[-1] == "{" and len(token) > 2:
            open_.append(match.end())
        elif token == "}" and open_:
            begin = open_.pop()
            # No box is copied that holds a copied one, but for an empty one: linear in all.
            if begin > last_begin and (content := text[begin : match.start()].strip()):
                last, last_begin = content, begin
    return last


def _last_hashed(text: str) -> str | None:
    for line in reversed(text.splitlines()):
        head, hashes, tail = line.rpartition("####")
        answer = tail.strip()
        if (
            hashes
            and not head.endswith("#")
            and any(map(str.isdigit, answer))
            and not any(map(str.isspace, answer))
        ):
            return answer
    return None


def _last_tagged(text: str) -> str | None:
    last = None
    begin: int | None = None
    for match in _ANSWER_TAG.finditer(text):
        if not match.group(1):
            begin = match.end()
        elif begin is not None:
            last = text[begin : match.start()].strip() or last
            begin = None
    return last


def _last_sentence(text: str, lead_in: re.Pattern[str]) -> str | None:
    begins = [match.end() for match in lead_in.finditer(text)]
    for begin in reversed(begins):
        end = _SENTENCE_END.search(text, begin)
        sentence = text[begin : end.start() if end else len(text)].strip(" \t*_")
        if sentence:
            return sentence
    return None


_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[()\[\],;:! $]|[$~]|\{,\}")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|boxed|fbox)\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}|\\[dt]?frac ?(\d)(\d)")
_LOOSE_SPACE = re.compile(r"(?<!\w) | (?!\w)")
_OPTION = re.compile(r"\(?([^\W\d_])\)")
_NUMBER = re.compile(r"([+-]?)(\d+|\d{1,3}(?:,\d{3})+|(?=\.\d))(?:\.(\d*))?", re.ASCII)
_SIMPLE = re.compile(r"[+-]?[\w.]*")
_NESTING = 8
"""Fractions and text commands inside one another that are still resolved."""


def normalise_answer(text: str) -> str:
    r"""One spelling for answers that are spelt alike but for form.

    - ``$…$``, ``\(…\)``, Markdown emphasis, ``\text{…}`` and the like, ``\left``, thin spaces and
      trailing periods go; white space goes, but for one blank between two word characters
      (``1 1/2`` is not ``11/2``); case is folded.
    - A whole answer that is a number without a unit: thousands separators, a plus sign, leading
      zeros (``042`` is ``42``) and zeros at the end of the fraction (``42.0`` is ``42``) go;
      ``-0`` is ``0``.
    - ``\frac{a}{b}``, ``\dfrac{a}{b}``, ``\frac12`` and ``a/b`` are alike; nothing is reduced or
      divided.
    - An option letter in brackets is the letter: ``(A)`` is ``a``.

    Returns:
        Possibly empty: the answer is then none.

    >>> normalise_answer(r"$\dfrac{1}{2}$."), normalise_answer("1,042.50"), normalise_answer("(B)")
    ('1/2', '1042.5', 'b')
    """
    text = text.replace("\\\\", "\\")  # as in JSON that was escaped twice
    text = _SPACING.sub(lambda match: "," if match.group() == "{,}" else " ", text)
    for _ in range(_NESTING):
        simpler = _FRACTION.sub(_as_ratio, _WRAPPED.sub(r" \1 ", text))
        if simpler == text:
            break
        text = simpler
    text = " ".join(text.replace("\\%", "%").replace("−", "-").split())
    text = _LOOSE_SPACE.sub("", text.strip("*_` ").rstrip("*_`. ")).casefold()
    option = _OPTION.fullmatch(text)
    return option.group(1) if option else "/".join(map(_plain_number, text.split("/")))


def _as_ratio(match: re.Match[str]) -> str:
    above, below, *digits = match.groups()
    return "/".join(digits) if above is None else f"{_bracketed(above)}/{_bracketed(below)}"


def _bracketed(term: str) -> str:
    term = term.strip()
    return term if _SIMPLE.fullmatch(term) else f"({term})"


def _plain_number(text: str) -> str:
    match = _NUMBER.fullmatch(text)
    if not match:
        return text
    sign, whole, fraction = match.groups()
    number = whole.replace(",", "").lstrip("0") or "0"
    fraction = (fraction or "").rstrip("0")
    number += "." + fraction if fraction else ""
    return number if sign != "-" or number == "0" else "-" + number


def answer_codes(answers: Sequence[str | None]) -> Ints:
    """Normalised answers as numbers, by first appearance; -1 for None and for the empty one.

    >>> answer_codes(["42", None, "7", "42"])
    array([ 0, -1,  1,  0])
    """
    codes: dict[str, int] = {}
    return np.array(
        [codes.setdefault(each, len(codes)) if each else -1 for each in answers], dtype=np.int64
    )


@dataclass(frozen=True)
class AnswerStats:
    """How far the traces of one group agree. A trace without an answer agrees with none.

    Attributes:
        traces: N, those without an answer included.
        answered: traces with an answer.
        distinct: different answers; no answer is not one of them.
        modal_share: traces with the most frequent answer / N; None if N is 0.
        pair_redundancy: share of the N(N-1) ordered pairs of traces with the same answer, in
            [0, 1]; None if N < 2.
        entropy: of the answers given, in nats, plug-in estimate (biased low), in
            [0, ln distinct]; traces without one are left out; None if there are no others.
    """

    traces: int
    answered: int
    distinct: int
    modal_share: float | None
    pair_redundancy: float | None
    entropy: float | None


def measure_answers(codes: Ints) -> AnswerStats:
    """Agreement within one group.

    Args:
        codes: shape (N,): equal numbers are equal answers; below 0: no answer.
    """
    n = len(codes)
    counts = np.unique(codes[codes >= 0], return_counts=True)[1].astype(np.int64)
    answered = int(counts.sum())
    pairs = int((counts * (counts - 1)).sum())
    shares = counts / max(answered, 1)
    return AnswerStats(
        traces=n,
        answered=answered,
        distinct=len(counts),
        modal_share=int(counts.max(initial=0)) / n if n else None,
        pair_redundancy=pairs / (n * (n - 1)) if n > 1 else None,
        entropy=float(-(shares * np.log(shares)).sum()) + 0.0 if answered else None,
    )


def pass_at_k(n: int, correct: int, k: int) -> float | None:
    """Chance that of k traces drawn from n without replacement at least one is correct.

    1 - C(n - correct, k) / C(n, k), unbiased for k independent samples (arXiv:2107.03374).

    Returns:
        in [0, 1]; None if k > n.

    Raises:
        ValueError: k < 1, or not 0 <= correct <= n.
    """
    if k < 1 or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {correct} correct in {n}")
    return 1 - comb(n - correct, k) / comb(n, k) if k <= n else None


def majority_accuracy(codes: Ints, rewards: Floats) -> float | None:
    """Mean reward of the most frequent answer's traces; of tied answers, the mean of theirs.

    Args:
        codes: shape (N,): answers; below 0: none.
        rewards: shape (N,); NaN: unknown, left out.

    Returns:
        None if no trace has an answer or no reward of a most frequent answer is known.
    """
    answers, counts = np.unique(codes[codes >= 0], return_counts=True)
    means = []
    for answer in answers[counts == counts.max(initial=0)]:
        known = rewards[(codes == answer) & ~np.isnan(rewards)]
        if len(known):
            means.append(float(known.mean()))
    return float(np.mean(means)) if means else None


def majority_at_k(
    codes: Ints, rewards: Floats, k: int, *, orders: int = ORDERS, seed: int = 0
) -> Estimate | None:
    """Expected `majority_accuracy` of k traces drawn from one group without replacement.

    An answer is as correct as the mean of all its traces in the group. Drawn, not summed: the mean
    over the first k traces of random orders, ties as in `votes`.

    Args:
        codes, rewards: as in `majority_accuracy`.

    Returns:
        None if k > N, or if no draw has a winner with a known reward.

    Raises:
        ValueError: k < 1.
    """
    if k < 1:
        raise ValueError(f"majority@{k}")
    if k > len(codes):
        return None
    group = answer_groups(np.zeros(len(codes), dtype=np.int64), codes, rewards=rewards)
    found = []
    for arrival in arrivals(group, orders, seed):
        winner = running_votes(group.local[arrival.traces[..., :k]]).winner()
        found.append(group.reward_of(arrival.groups, winner).ravel())
    return Estimate.of(np.concatenate(found))
