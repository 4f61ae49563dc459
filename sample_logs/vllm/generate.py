"""Write two invented server logs of vLLM: server.log with rendered prompts and their ids, and
debug.log of a newer server, which says prompts only when debugging.

Ids are words numbered as they come up, so equal texts have equal ids and the ids say what the text says.
Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Vocabulary, pieces

SYSTEM = (
    "<|im_start|>system\nYou tie knots with words. Name the knot, then its three turns, then what it "
    "holds.\nNever name a knot that slips.<|im_end|>\n"
)
CHATS = {
    "3f2a9c": [
        ("A knot for the mooring line?", "Bowline: up the hole, round the tree, down again."),
        ("And one that doesn't jam?", "Zeppelin bend: two loops, crossed, each end through both."),
    ],
    "77b01d": [('A knot for a "wet" rope?', "Carrick bend: over, under, over.")],
}
PARAMS = (
    "SamplingParams(n=1, presence_penalty=0.0, temperature=0.7, top_p=0.95, top_k=20, seed=None, "
    "stop=['<|im_end|>'], stop_token_ids=[], max_tokens=512, logprobs=None)"
)
FIRST_ID = 1000


def requests(server: str) -> list[tuple[str, str, str]]:
    """Request id, prompt and answer of each turn."""
    found = []
    for chat, turns in CHATS.items():
        prompt = SYSTEM
        for number, (wish, answer) in enumerate(turns):
            prompt += f"<|im_start|>user\n{wish}<|im_end|>\n<|im_start|>assistant\n"
            found.append((f"chatcmpl-{server}{chat}{number}", prompt, answer))
            prompt += f"{answer}<|im_end|>\n"
    return found


def old_server(words: Vocabulary) -> str:
    lines = ["INFO 11-14 08:59:58 [api_server.py:1047] Starting vLLM API server 0 on port 8000"]
    for number, (key, prompt, answer) in enumerate(requests("a")):
        at = f"INFO 11-14 09:0{number}:00"
        lines += [
            (
                f"{at} [logger.py:43] Received request {key}: prompt: {prompt!r}, params: {PARAMS}, "
                f"prompt_token_ids: {words.encode(prompt)}, prompt_embeds shape: None, "
                "lora_request: None."
            ),
            f"{at} [async_llm.py:270] Added request {key}.",
            (
                f"INFO 11-14 09:0{number}:03 [logger.py:71] Generated response {key}: output: "
                f"{answer!r}, output_token_ids: {words.encode(answer)}, finish_reason: stop"
            ),
            f'INFO:     10.0.0.7:51{number:03d} - "POST /v1/chat/completions HTTP/1.1" 200 OK',
            (
                f"INFO 11-14 09:0{number}:04 [loggers.py:118] Engine 000: Avg prompt throughput: 21.0 "
                "tokens/s, Running: 0 reqs, Waiting: 0 reqs, Prefix cache hit rate: 41.0%"
            ),
        ]
    return "\n".join(lines) + "\n"


def new_server() -> str:
    before = "\x1b[0;36m(APIServer pid=12)\x1b[0;0m"
    lines = []
    for number, (key, prompt, answer) in enumerate(requests("b")):
        at = f"11-15 10:0{number}:00"
        lines += [
            (
                f"{before} DEBUG {at} [request_logger.py:41] Request {key} details: prompt: {prompt!r}, "
                "prompt_token_ids: None, prompt_embeds shape: None."
            ),
            (
                f"{before} INFO {at} [request_logger.py:49] Received request {key}: params: {PARAMS}, "
                "lora_request: None."
            ),
            (
                f"{before} INFO {at} [request_logger.py:88] Generated response {key} (streaming delta): "
                f"output: {answer[:9]!r}, output_token_ids: [5, 6], finish_reason: None"
            ),
            (
                f"{before} INFO {at} [request_logger.py:88] Generated response {key} (streaming complete)"
                f": output: {answer!r}, output_token_ids: None, finish_reason: streaming_complete"
            ),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(__file__).parent
    for name, text in (
        ("server.log", old_server(Vocabulary(FIRST_ID, split=pieces))),
        ("debug.log", new_server()),
    ):
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
