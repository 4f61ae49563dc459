"""The parser for HELM's scenario states."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file

from forkpoint.parsers.helm import Helm
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind

PARSER = Helm()
SPEC = {"method": "multiple_choice_joint", "instructions": "Choose."}
PROMPT = "Question: tides?\nA. moon\nB. wind\nAnswer:"


def completion(text: str = " A", **changes: Any) -> dict[str, Any]:
    tokens = [{"text": text, "logprob": -0.25}]
    return {"text": text, "logprob": -0.25, "tokens": tokens, **changes}


def state(*completions: Any, **changes: Any) -> dict[str, Any]:
    request = {"model": "openai/gpt-x", "prompt": PROMPT, "num_completions": 1}
    result = {"success": True, "embedding": [], "cached": False, "request_time": 0.5}
    result |= {"request_datetime": 1767600000, "completions": list(completions) or [completion()]}
    found = {
        "instance": {"input": {"text": "tides?"}, "references": [], "id": "id1"},
        "train_trial_index": 0,
        "output_mapping": {"A": "moon", "B": "wind"},
        "request": {**request, **changes.pop("request", {})},
        "result": {**result, **changes.pop("result", {})},
    }
    return {**found, **changes}


def parsed(folder: Path, *states: Any, run: str = "tides", data: bytes | None = None) -> Parsed:
    path = folder / run / "scenario_state.json"
    path.parent.mkdir(exist_ok=True)
    document = {"adapter_spec": SPEC, "request_states": list(states)}
    path.write_bytes(json.dumps(document, indent=2).encode() if data is None else data)
    return parse_file(PARSER, path)


def contents(result: Parsed, node: int | None) -> list[Any]:
    return [seen.content for seen in result.tree.path(node or 0)]


def test_a_request_is_a_call_and_each_completion_a_rollout(tmp_path: Path) -> None:
    result = parsed(tmp_path, state(completion(" A"), completion(" B"), completion(" A\n")))
    assert result.issues == []
    (call,) = result.calls
    assert contents(result, call.completion) == [PROMPT, " A"]
    assert (call.provider, call.model, call.duration_s) == ("openai", "gpt-x", 0.5)
    assert call.started_at is not None and call.started_at.timestamp() == 1767600000
    first, second, third = result.traces
    assert {trace.group for trace in result.traces} == {"tides/id1"}
    assert [trace.answer for trace in result.traces] == ["moon", "wind", "moon"]
    assert (first.id, first.prompt, first.leaf) == (call.trace, None, call.completion)
    assert (second.prompt, third.prompt) == (call.prompt, call.prompt)
    assert [scores.trace for scores in result.scores] == [trace.id for trace in result.traces]
    assert result.scores[0].logprobs == [-0.25]
    data = (tmp_path / "tides" / "scenario_state.json").read_bytes()
    assert data[call.offset :].startswith(b'{\n      "instance"')


def test_a_request_served_from_helms_cache_is_the_call_that_was_paid_for(tmp_path: Path) -> None:
    first = parsed(tmp_path, state())
    again = parsed(tmp_path, state(result={"cached": True}), state(), run="rerun")
    identities = {call.identity for call in (*first.calls, *again.calls)}
    assert len(identities) == 1
    later = parsed(tmp_path, state(result={"request_datetime": 1767600001}))
    assert later.calls[0].identity not in identities


def test_without_times_equal_requests_are_calls_of_their_own(tmp_path: Path) -> None:
    untimed = state()
    del untimed["result"]["request_datetime"]
    result = parsed(tmp_path, untimed, untimed)
    assert len({call.identity for call in result.calls}) == 2


def test_requests_that_failed_or_were_not_made_are_no_calls(tmp_path: Path) -> None:
    failed = state(result={"success": False, "error": "429", "completions": []})
    result = parsed(
        tmp_path, failed, state(result={"completions": []}), {**state(), "result": None}
    )
    assert (result.calls, result.traces, result.issues) == ([], [], [])


def test_an_echoed_prompt_is_no_part_of_the_completion(tmp_path: Path) -> None:
    tokens = [{"text": PROMPT[:9], "logprob": None}, {"text": PROMPT[9:], "logprob": -5.0}]
    tokens.append({"text": " A", "logprob": -0.5})
    echo = completion(PROMPT + " A", tokens=tokens)
    result = parsed(tmp_path, state(echo, request={"echo_prompt": True}))
    assert contents(result, result.calls[0].completion) == [PROMPT, " A"]
    assert result.scores[0].tokens == [" A"]
    tokens[1]["text"] = PROMPT[9:] + " "
    across = parsed(tmp_path, state(echo, request={"echo_prompt": True}))
    assert contents(across, across.calls[0].completion) == [PROMPT, " A"]
    assert across.scores == []


def test_a_prompt_that_was_only_scored_is_a_call_without_a_completion(tmp_path: Path) -> None:
    echo = completion(PROMPT, tokens=[{"text": PROMPT, "logprob": -9.0}])
    result = parsed(tmp_path, state(echo, request={"echo_prompt": True, "max_tokens": 0}))
    assert [call.completion for call in result.calls] == [None]
    assert [(trace.group, trace.leaf) for trace in result.traces] == [(None, None)]
    assert result.scores == []


def test_requests_for_one_reference_and_embeddings_are_no_rollouts(tmp_path: Path) -> None:
    embedding = state(request={"embedding": True}, result={"completions": []})
    result = parsed(tmp_path, state(reference_index=1), embedding)
    assert len(result.calls) == 2
    assert {trace.group for trace in result.traces} == {None}
    assert [call.completion is None for call in result.calls] == [False, True]


def test_tokens_that_helm_made_up_say_nothing(tmp_path: Path) -> None:
    invented = [{"text": " A", "logprob": 0}, {"text": "B", "logprob": 0.0}]
    result = parsed(tmp_path, state(completion(tokens=invented)), state(completion(tokens=[])))
    assert (len(result.calls), result.scores) == (2, [])


def test_runs_of_2022_have_the_most_likely_tokens(tmp_path: Path) -> None:
    tokens = [{"text": " A", "logprob": -0.25, "top_logprobs": {" A": -0.25, " B": -1.5}}]
    result = parsed(tmp_path, state(completion(tokens=tokens)))
    assert result.scores[0].top == [[-0.25, -1.5]]


def test_chats_are_messages_and_images_are_media(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Choose."}, {"role": "user", "content": "tides?"}]
    media = {
        "media_objects": [
            {"content_type": "text/plain", "text": "See:"},
            {"content_type": "image/png", "location": "a.png"},
        ]
    }
    result = parsed(
        tmp_path,
        state(request={"prompt": "", "messages": chat}),
        state(request={"prompt": "", "multimodal_prompt": media}),
    )
    first, second = (result.tree.path(call.prompt) for call in result.calls)
    assert first == [(Kind.SYSTEM, "system", "Choose."), (Kind.TEXT, "user", "tides?")]
    assert [seen.kind for seen in second] == [Kind.TEXT, Kind.MEDIA]


def test_thinking_comes_before_the_text(tmp_path: Path) -> None:
    result = parsed(tmp_path, state(completion(thinking={"text": "Hm."})))
    kinds = [seen.kind for seen in result.tree.path(result.calls[0].completion or 0)]
    assert kinds[1:] == [Kind.THINKING, Kind.TEXT]


def test_perturbed_instances_are_groups_of_their_own(tmp_path: Path) -> None:
    perturbed = state()
    perturbed["instance"]["perturbation"] = {"name": "typos", "severity": 1}
    nameless = state()
    del nameless["instance"]["id"]
    result = parsed(tmp_path, state(), perturbed, nameless)
    assert len({trace.group for trace in result.traces}) == 3
    assert result.traces[1].group == "tides/id1/typos"


def test_the_deployment_names_the_provider(tmp_path: Path) -> None:
    request = {"model": "meta/llama-x", "model_deployment": "together/llama-x"}
    (call,) = parsed(tmp_path, state(request=request)).calls
    assert (call.provider, call.model) == ("together", "llama-x")


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {"instance": {}},
        state(request={"prompt": 5}),
        state(completion(text=None)),
        state(completion(tokens=[{"logprob": -1}])),
        state(result={"request_time": -1}),
        state(result={"request_datetime": "noon"}),
        state(request={"messages": [{"content": "no role"}]}),
        state(output_mapping=[]),
    ],
)
def test_a_request_that_cannot_be_read_costs_only_itself(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, state(), bad, state(result={"request_datetime": 1767600002}))
    assert [call.line for call in result.calls] == [1, 3]
    assert [issue.line for issue in result.issues] == [2]


def test_what_strict_json_forbids_costs_nothing(tmp_path: Path) -> None:
    tokens = [{"text": " A", "logprob": float("nan")}, {"text": ".", "logprob": -1.0}]
    result = parsed(tmp_path, state(completion(tokens=tokens)), state())
    assert (len(result.calls), result.issues) == (2, [])
    assert result.scores[0].logprobs == [None, -1.0]


@pytest.mark.parametrize("cut", [1, 40, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    data = json.dumps({"adapter_spec": SPEC, "request_states": [state()]}).encode()
    result = parsed(tmp_path, data=data[:cut])
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


def test_a_file_is_known_by_its_first_keys() -> None:
    def identified(document: Any) -> bool:
        data = json.dumps(document, indent=2).encode()
        return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES])) is not None

    document = {"adapter_spec": SPEC, "request_states": [state()]}
    assert identified(document)
    assert identified({**document, "adapter_spec": {**SPEC, "instructions": "x" * HEAD_BYTES}})
    assert not identified({"adapter_spec": SPEC, "name": "run_spec"})
    assert not identified({"request_states": [state()]})
    assert not identified([document])


def test_the_sample_is_four_calls_of_three_rollouts(sample_logs: Path) -> None:
    (path,) = (sample_logs / "helm").glob("*/scenario_state.json")
    result = parse_file(PARSER, path)
    assert result.issues == []
    assert len({call.identity for call in result.calls}) == 4
    assert Counter(Counter(trace.group for trace in result.traces).values()) == {3: 4}
    assert sum(len(scores.tokens) for scores in result.scores) == 15
    assert len({trace.leaf for trace in result.traces}) == 9


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path
