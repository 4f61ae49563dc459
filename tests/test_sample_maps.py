"""Maps of fields: given for a run, or lying beside the logs; changed maps change what is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.errors import ForkpointError
from forkpoint.parsers.registry import use_sample_map

GIVEN = "prompt=ask,completion=said.text,reward=grade"


@pytest.fixture(autouse=True)
def _no_map_is_left_behind() -> object:
    yield
    use_sample_map(None)


@pytest.fixture
def store() -> object:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as opened:
        yield opened


def write(folder: Path) -> None:
    rows = [
        {"ask": "2+2?", "said": {"text": f"The answer is {n}."}, "grade": float(n == 4)}
        for n in (4, 4, 5)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(store: Store, folder: Path, sample_map: str | None = None) -> int:
    """Reads a folder; how many rollouts it then has."""
    ingest(store, [folder], Options(DEFAULT_ENCODING, sample_map=sample_map))
    return build_rollouts(store, [folder]).rollouts.rollouts


def test_a_given_map_reads_files_that_were_left_out_and_leaving_it_out_forgets_them(
    tmp_path: Path, store: Store
) -> None:
    write(tmp_path)
    assert read(store, tmp_path) == 0
    assert read(store, tmp_path, GIVEN) == 3
    found = build_rollouts(store, [tmp_path])
    assert found.rollouts.mean_reward == pytest.approx(2 / 3)
    assert found.groups[0].distinct_answers == 2  # read again from the texts, by the same map
    assert read(store, tmp_path, GIVEN) == 3
    assert read(store, tmp_path) == 0


def test_a_map_file_beside_the_logs_is_found_and_its_changes_count(
    tmp_path: Path, store: Store
) -> None:
    write(tmp_path)
    file = tmp_path / "forkpoint-map.toml"
    file.write_text('prompt = "ask"\ncompletion = "said.text"\n')
    assert read(store, tmp_path) == 3
    assert build_rollouts(store, [tmp_path]).rollouts.mean_reward is None
    file.write_text('prompt = "ask"\ncompletion = "said.text"\nreward = "grade"\n')
    assert read(store, tmp_path) == 3
    assert build_rollouts(store, [tmp_path]).rollouts.mean_reward == pytest.approx(2 / 3)
    file.unlink()
    assert read(store, tmp_path) == 0


def test_a_map_file_goes_before_other_formats_and_a_given_map_after_them(
    tmp_path: Path, store: Store
) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}], "model": "gpt-5", "note": "yes"}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n")
    own = "prompt=messages,completion=note"

    def format_now(sample_map: str | None = None) -> str:
        read(store, tmp_path, sample_map)
        found: str = store.value("SELECT format FROM sources WHERE path LIKE '%log.jsonl'")
        return found

    assert format_now() == "openai"
    assert format_now(own) == "openai"
    file = tmp_path / "forkpoint-map.toml"
    file.write_text('prompt = "messages"\ncompletion = "note"\n')
    assert format_now() == "samples"
    file.unlink()
    assert format_now() == "openai"


def test_a_map_that_is_none_is_refused_before_anything_is_read(
    tmp_path: Path, store: Store
) -> None:
    write(tmp_path)
    with pytest.raises(ForkpointError, match="--map"):
        read(store, tmp_path, "prompt")
