"""Cache rules: what is documented per model and day, a user's own, and agreement with the prices."""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.rules import CacheRule, Rules, load_rules, plain_name
from forkpoint.errors import ForkpointError

REPOSITORY = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 11, 22)
ONE_RULE = '[[rule]]\nprovider = "vllm"\nmodels = ["*"]\nminimum_tokens = 32\n'


@pytest.fixture(scope="module")
def built_in() -> Rules:
    return load_rules()


def rule_of(rules: Rules, provider: str | None, model: str, when: datetime = NOW) -> CacheRule:
    found = rules.rule_for(provider, model, when)
    assert found is not None, f"no rule for {model} at {provider}"
    return found


def own_rules(folder: Path, text: str) -> Rules:
    (folder / "rules.toml").write_text(text, encoding="utf-8")
    return load_rules(folder / "rules.toml")


# --- what is documented ---


@pytest.mark.parametrize(
    ("minimum", "models"),
    [
        (512, "opus-5 opus-5-5 fable-5 fable-5-1 mythos-5 mythos-5-1"),
        (1024, "opus-4-8 sonnet-5 sonnet-4-6 sonnet-4-5 sonnet-4 opus-4-1 opus-4"),
        (2048, "opus-4-7 mythos-preview 3-5-haiku"),
        (4096, "opus-4-6 opus-4-5 haiku-4-5"),
    ],
)
def test_claude_caches_from_the_documented_minimum_of_each_model(
    built_in: Rules, minimum: int, models: str
) -> None:
    for model in models.split():
        assert rule_of(built_in, "anthropic", f"claude-{model}").minimum_tokens == minimum, model


@pytest.mark.parametrize(
    ("provider", "model", "minimum", "granularity"),
    [
        ("openai", "gpt-5.6-sol", 1024, 1),
        ("openai", "gpt-6.1-terra", 1024, 1),
        ("openai", "gpt-5.5", 1024, 512),
        ("openai", "gpt-5.1-codex", 1024, 128),
        ("openai", "gpt-4o", 1024, 128),
        ("google", "gemini-4-argon", 4096, 1),
        ("google", "gemini-3.5-flash", 4096, 1),
        ("google", "gemini-3.8-flash", 4096, 1),
        ("google", "gemini-3.1-pro-preview", 4096, 1),
        ("google", "gemini-2.5-pro", 2048, 1),
        ("google", "gemini-2.5-flash", 2048, 1),
        ("deepseek", "deepseek-v4-pro", 64, 64),
        ("vllm", "Qwen/Qwen3-8B", 16, 16),
        ("sglang", "Qwen/Qwen3-8B", 1, 1),
        ("aws", "anthropic.claude-opus-4-7-v1:0", 4096, 1),
    ],
)
def test_minimum_and_granularity_are_as_documented(
    built_in: Rules, provider: str, model: str, minimum: int, granularity: int
) -> None:
    rule = rule_of(built_in, provider, model)
    assert (rule.minimum_tokens, rule.granularity_tokens) == (minimum, granularity)


def test_claude_is_cached_at_breakpoints_for_five_minutes_or_an_hour(built_in: Rules) -> None:
    rule = rule_of(built_in, "anthropic", "claude-opus-5")
    assert (rule.default_ttl_s, rule.long_ttl_s, rule.refreshed_on_read) == (300, 3600, True)
    assert (rule.opt_in, rule.max_breakpoints, rule.lookback_blocks) == ("explicit", 4, 20)
    assert (rule.scope, rule.model_scoped) == ("workspace", True)
    assert (rule.ends_at, rule.caches_generated) == ("block", False)
    assert rule.concurrent == "after first token"
    multipliers = rule.write_multiplier, rule.write_1h_multiplier, rule.read_multiplier
    assert multipliers == (1.25, 2.0, 0.1)


def test_engines_keep_what_they_generate_and_compute_the_last_token_again(built_in: Rules) -> None:
    for engine in ("vllm", "sglang"):
        rule = rule_of(built_in, engine, "some/model")
        assert rule.caches_generated and rule.recompute_last_token
        assert rule.default_ttl_s is None and rule.read_multiplier is None


def test_claude_on_a_cloud_platform_is_shared_by_the_organization(built_in: Rules) -> None:
    for provider in ("aws", "google"):
        assert rule_of(built_in, provider, "claude-opus-5").scope == "organization"
        assert rule_of(built_in, provider, "claude-3-5-haiku").long_ttl_s is None


def test_a_model_that_is_not_listed_gets_the_largest_minimum_of_its_family(
    built_in: Rules,
) -> None:
    for model in ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-9"):
        for provider in ("anthropic", "aws", "google"):
            assert rule_of(built_in, provider, model).minimum_tokens == 4096
    assert rule_of(built_in, "google", "gemini-3.5-flash-lite").minimum_tokens == 4096


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-2"),
        ("openai", "gpt-4"),
        ("openai", "gpt-5-pro"),
        ("openai", "o1-pro"),
        ("openai", "text-embedding-3-large"),
        ("groq", "openai/gpt-oss-120b"),
        ("google", "gemini-1.5-pro"),
        ("google", "gemma-3"),
        ("together", "deepseek-ai/DeepSeek-V3"),
        ("openrouter", "deepseek/deepseek-chat"),
        ("x-ai", "grok-4.5"),
        (None, "Qwen/Qwen3-8B"),
        ("anthropic", ""),
        ("anthropic", "claude-opus-5" + "-" * 300),
        ("anthropic", None),
        (None, None),
    ],
)
def test_where_nothing_is_known_there_is_no_rule(
    built_in: Rules, provider: str | None, model: str | None
) -> None:
    assert built_in.rule_for(provider, model, NOW) is None


@pytest.mark.real
def test_codex_logs_hold_no_read_that_the_rules_do_not_allow(
    built_in: Rules, real_logs: Path
) -> None:
    """What was read of the cache is no more than whole steps of what was sent."""
    reads = 0
    for path in sorted((real_logs / "codex").rglob("*.jsonl")):
        model = None
        for line in path.read_bytes().splitlines():
            if line[:1] != b"{" or (b"token_count" not in line and b"turn_context" not in line):
                continue
            payload = json.loads(line).get("payload") or {}
            model = payload.get("model", model)
            usage = (payload.get("info") or {}).get("last_token_usage")
            if model is None or usage is None or not usage["cached_input_tokens"]:
                continue
            rule = rule_of(built_in, "openai", model)
            step, read = rule.granularity_tokens, usage["cached_input_tokens"]
            assert rule.minimum_tokens <= read <= usage["input_tokens"] // step * step
            reads += 1
    assert reads > 500


# --- time ---


@pytest.mark.parametrize(
    ("provider", "model", "day", "before", "after"),
    [
        ("anthropic", "claude-opus-4-8", date(2026, 10, 7), 4096, 1024),
        ("aws", "claude-opus-4-8", date(2026, 10, 7), 4096, 1024),
        ("anthropic", "claude-sonnet-4-6", date(2026, 10, 7), 2048, 1024),
        ("anthropic", "claude-opus-4-7", date(2026, 11, 1), 4096, 2048),
        ("anthropic", "claude-fable-5", date(2026, 10, 7), 2048, 512),
        ("google", "gemini-2.5-pro", date(2026, 7, 7), 4096, 2048),
    ],
)
def test_a_rule_that_changed_holds_until_the_day_of_the_change(
    built_in: Rules, provider: str, model: str, day: date, before: int, after: int
) -> None:
    midnight = datetime(day.year, day.month, day.day)
    moment = timedelta(microseconds=1)
    assert rule_of(built_in, provider, model, midnight - moment).minimum_tokens == before
    assert rule_of(built_in, provider, model, midnight).minimum_tokens == after


def test_a_time_with_a_zone_is_taken_to_utc(built_in: Rules) -> None:
    # One in the morning of 7 October, two hours east of Greenwich, is still the sixth in UTC.
    east = datetime(2026, 10, 7, 1, tzinfo=timezone(timedelta(hours=2)))
    assert rule_of(built_in, "anthropic", "claude-opus-4-8", east).minimum_tokens == 4096
    utc = datetime(2026, 10, 7, tzinfo=UTC)
    assert rule_of(built_in, "anthropic", "claude-opus-4-8", utc).minimum_tokens == 1024


def test_a_call_without_a_time_goes_by_the_day_of_the_rules(built_in: Rules) -> None:
    rule = built_in.rule_for("anthropic", "claude-opus-4-8", None)
    assert rule is not None and rule.minimum_tokens == 1024


def test_gemini_caches_nothing_before_implicit_caching_began(built_in: Rules) -> None:
    assert built_in.rule_for("google", "gemini-2.5-pro", datetime(2025, 5, 7)) is None
    assert built_in.rule_for("google", "gemini-2.5-pro", datetime(2025, 5, 8)) is not None


# --- names as logs write them ---


@pytest.mark.parametrize(
    ("provider", "model", "known_as"),
    [
        ("anthropic", "claude-opus-4-5-20251101", ("anthropic", "claude-opus-4-5")),
        ("anthropic", "claude-opus-4-20250514", ("anthropic", "claude-opus-4")),
        ("anthropic", "Claude-Opus-4-8[1m]", ("anthropic", "claude-opus-4-8")),
        ("anthropic", "claude-opus-4.8", ("anthropic", "claude-opus-4-8")),
        ("anthropic", "claude-opus-5-fast", ("anthropic", "claude-opus-5")),
        ("anthropic", "claude-3-5-haiku-latest", ("anthropic", "claude-3-5-haiku")),
        ("Anthropic", "anthropic/claude-sonnet-4.5", ("anthropic", "claude-sonnet-4-5")),
        (None, "anthropic/claude-sonnet-4.5", ("anthropic", "claude-sonnet-4-5")),
        (None, "claude-opus-5", ("anthropic", "claude-opus-5")),
        ("openrouter", "anthropic/claude-opus-4.7:thinking", ("anthropic", "claude-opus-4-7")),
        ("openrouter", "google/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        ("azure", "gpt-5.1-2025-11-13", ("openai", "gpt-5.1")),
        ("azure", "claude-opus-5", ("anthropic", "claude-opus-5")),
        ("aws", "us.anthropic.claude-opus-4-5-20251101-v1:0", ("aws", "claude-opus-4-5")),
        (None, "us.anthropic.claude-opus-4-7-v1:0", ("aws", "claude-opus-4-7")),
        (None, "bedrock/us.anthropic.claude-opus-4-7-v1:0", ("aws", "claude-opus-4-7")),
        ("aws", "global.openai.gpt-5.6-luna", ("openai", "gpt-5.6-luna")),
        ("vertex_ai", "claude-sonnet-4-5@20250929", ("google", "claude-sonnet-4-5")),
        ("google", "models/gemini-2.5-flash-preview-05-20", ("google", "gemini-2.5-flash")),
        ("openai", "gpt-4o-2024-08-06", ("openai", "gpt-4o")),
        ("openai", "gpt-5.6-sol-2026-07-09", ("openai", "gpt-5.6-sol")),
        ("deepseek", "deepseek-reasoner", ("deepseek", "deepseek-reasoner")),
        (None, "deepseek/deepseek-chat", ("deepseek", "deepseek-chat")),
        ("hosted_vllm", "openai/gpt-oss-120b", ("vllm", "gpt-oss-120b")),
    ],
)
def test_a_model_is_known_by_every_name_that_logs_give_it(
    built_in: Rules, provider: str | None, model: str, known_as: tuple[str, str]
) -> None:
    found = built_in.rule_for(provider, model, NOW)
    assert found is not None
    assert found is built_in.rule_for(*known_as, NOW)
    assert found.provider == known_as[0]


@given(st.text(max_size=80), st.none() | st.text(max_size=10))
def test_no_name_is_an_error(model: str, provider: str | None) -> None:
    rules = load_rules()
    assert rules.rule_for(provider, model, NOW) is rules.rule_for(provider, model, NOW)
    assert plain_name(plain_name(model)) == plain_name(model)


def test_a_hostile_name_takes_no_time(built_in: Rules) -> None:
    start = time.perf_counter()
    for tail in ("-v1" * 85, ":" * 255, "/" * 255, "-20260101" * 28, "a." * 127):
        built_in.rule_for(None, "x" + tail, NOW)
    assert time.perf_counter() - start < 1


# --- the data itself ---


def test_every_rule_says_where_it_is_from(built_in: Rules) -> None:
    for rule in built_in.rules:
        assert len(rule.source) > 20 and "cache_rules.toml" not in rule.source, rule
        assert rule.provider and rule.provider == rule.provider.lower()
        assert all(pattern == pattern.lower() for pattern in rule.models)


def test_every_fact_of_a_built_in_rule_is_stated_and_none_left_to_a_default() -> None:
    text = files("forkpoint.analysis").joinpath("cache_rules.toml").read_text("utf-8")
    document = tomllib.loads(text)
    always = {
        *("provider", "models", "source", "minimum_tokens", "granularity_tokens", "ends_at"),
        *("recompute_last_token", "refreshed_on_read", "ttl_from", "caches_generated"),
        *("opt_in", "scope", "model_scoped", "concurrent"),
    }
    for rule in document["rule"]:
        stated = set(document["family"].get(rule.get("family"), {})) | set(rule)
        assert always <= stated, (rule["models"], always - stated)


def _names() -> Iterator[str]:
    """Model names of the price list, and one for every choice that the patterns leave."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            yield plain_name(model.id.rsplit("/", 1)[-1])
    for rule in load_rules().rules:
        for pattern in rule.models:
            for digit in "1257":
                for sign in "-.":
                    name = pattern.replace("[-.]", sign).replace("[.-]", sign)
                    yield name.replace("*", "x").replace("[1-4]", digit).replace("[6-9]", digit)


def test_no_two_rules_of_a_provider_fit_a_model_equally_well_at_one_time(built_in: Rules) -> None:
    names = set(_names())
    assert len(names) > 1000
    for one, other in combinations(built_in.rules, 2):
        if one.provider != other.provider or not _same_time(one, other):
            continue
        for name in names:
            fit = one.match([name])
            assert fit is None or fit != other.match([name]), (name, one, other)


def _same_time(one: CacheRule, other: CacheRule) -> bool:
    start = max(one.valid_from or datetime.min, other.valid_from or datetime.min)
    return start < min(one.valid_until or datetime.max, other.valid_until or datetime.max)


def test_no_rule_is_without_a_model_that_it_decides(built_in: Rules) -> None:
    names = set(_names())
    for rule in built_in.rules:
        when = rule.valid_from or (rule.valid_until or NOW) - timedelta(days=1)
        assert any(built_in.rule_for(rule.provider, name, when) is rule for name in names), rule


def test_the_rules_are_shipped_with_the_package() -> None:
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = table["tool"]["setuptools"]["package-data"]["forkpoint.analysis"]
    assert any(fnmatch.fnmatch("cache_rules.toml", pattern) for pattern in patterns)


def test_loading_the_rules_is_quick_and_is_done_when_asked() -> None:
    code = (
        "import time; from forkpoint.analysis import rules;"
        "assert rules._built_in.cache_info().currsize == 0;"
        "start = time.perf_counter(); rules.load_rules(); took = time.perf_counter() - start;"
        "start = time.perf_counter(); rules.load_rules(); again = time.perf_counter() - start;"
        "print(took, again)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for _ in range(3)
    ]
    # The best of three: other processes may hold the machine up.
    assert min(float(run.split()[0]) for run in runs) < 0.05
    assert min(float(run.split()[1]) for run in runs) < 0.001


def test_the_name_states_the_day_of_the_rules(built_in: Rules, tmp_path: Path) -> None:
    assert built_in.name == "cache rules of 2026-11-22"
    own = own_rules(tmp_path, ONE_RULE)
    assert own.name == f"{tmp_path / 'rules.toml'}, then cache rules of 2026-11-22"


# --- a user's own rules ---


def test_a_users_rule_goes_before_the_built_in_ones(tmp_path: Path) -> None:
    rules = own_rules(tmp_path, ONE_RULE)
    assert rule_of(rules, "vllm", "some-model").minimum_tokens == 32
    assert rule_of(rules, "sglang", "some-model").minimum_tokens == 1
    assert rule_of(rules, "vllm", "some-model").source == str(tmp_path / "rules.toml")
    assert len(rules.rules) == len(load_rules().rules) + 1


def test_a_users_wide_pattern_beats_a_close_built_in_one(tmp_path: Path) -> None:
    text = '[[rule]]\nmodels = ["claude-*"]\nminimum_tokens = 7\nsource = "measured"\n'
    rule = rule_of(own_rules(tmp_path, text), "aws", "us.anthropic.claude-opus-5-v1:0")
    assert (rule.minimum_tokens, rule.source, rule.provider) == (7, "measured", None)


def test_among_a_users_rules_the_closest_wins_and_then_the_first(tmp_path: Path) -> None:
    text = "".join(
        f'[[rule]]\nmodels = ["{pattern}"]\nminimum_tokens = {minimum}\n'
        for pattern, minimum in [("my-*", 1), ("my-model-*", 2), ("my-model-*", 3)]
    )
    rules = own_rules(tmp_path, text)
    assert rule_of(rules, None, "my-model-8b").minimum_tokens == 2
    assert rule_of(rules, None, "my-own").minimum_tokens == 1


def test_a_users_rule_may_start_from_a_family_and_have_dates_and_names(tmp_path: Path) -> None:
    text = """
        aliases = {house = "local"}
        [family.ours]
        granularity_tokens = 32
        caches_generated = true
        [[rule]]
        provider = ["Local", "bedrock"]
        models = ["Big-*", "one[x]"]
        family = "ours"
        minimum_tokens = 64
        granularity_tokens = 48
        valid_from = 2026-01-01
        valid_until = "2026-02-01"
        [[rule]]
        provider = "local"
        models = ["clone"]
        family = "claude"
        minimum_tokens = 9
    """
    rules = own_rules(tmp_path, text)
    january = datetime(2026, 1, 31)
    big = rule_of(rules, "house", "big-one", january)
    assert (big.granularity_tokens, big.caches_generated) == (48, True)
    assert rule_of(rules, "local", "one[x]", january).minimum_tokens == 64
    assert rule_of(rules, "aws", "BIG-two", january).provider == "aws"
    assert rule_of(rules, "amazon-bedrock", "big-two", january).provider == "aws"
    assert rules.rule_for("local", "big-one", datetime(2026, 2, 1)) is None
    assert rules.rule_for("local", "big-one", datetime(2025, 12, 31)) is None
    clone = rule_of(rules, "local", "clone")
    assert (clone.minimum_tokens, clone.long_ttl_s, clone.lookback_blocks) == (9, 3600, 20)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("minimum = 4", "rule 1: The table contains unknown field `minimum`"),
        ('minimum_tokens = "4"', "rule 1: Expected `int`, got `str` (in 'minimum_tokens')"),
        ("minimum_tokens = true", "Expected `int`, got `bool`"),
        ("minimum_tokens = 1.5", "Expected `int`, got `float`"),
        ("minimum_tokens = -1", "Expected `int` >= 0 (in 'minimum_tokens')"),
        ("minimum_tokens = 99999999999999999999999999", "(in 'minimum_tokens')"),
        ("granularity_tokens = 0", "Expected `int` >= 1 (in 'granularity_tokens')"),
        ("default_ttl_s = -5", "Expected `int` >= 1 (in 'default_ttl_s')"),
        ("max_breakpoints = 0", "Expected `int` >= 1 (in 'max_breakpoints')"),
        ("read_multiplier = -0.1", "Expected `float` >= 0.0 (in 'read_multiplier')"),
        ("read_multiplier = nan", "(in 'read_multiplier')"),
        ("write_multiplier = inf", "'write_multiplier' must be finite"),
        ('opt_in = "sometimes"', "Invalid enum value 'sometimes' (in 'opt_in')"),
        ('scope = "world"', "Invalid enum value 'world' (in 'scope')"),
        ("refreshed_on_read = 1", "Expected `bool`, got `int` (in 'refreshed_on_read')"),
        ('valid_from = "soon"', "'valid_from' must be a date such as 2026-01-31"),
        ("valid_until = 2026", "'valid_until' must be a date such as 2026-01-31"),
        ("valid_until = 12:00:00", "'valid_until' must be a date such as 2026-01-31"),
        (
            "valid_from = 2026-02-01\nvalid_until = 2026-02-01",
            "'valid_until' must be later than 'valid_from'",
        ),
        ('models = "claude-*"', "Expected `array`, got `str` (in 'models')"),
        ("models = []", "Expected `array` of length >= 1 (in 'models')"),
        ('models = [""]', "Expected `str` of length >= 1"),
        ("models = [5]", "Expected `str`, got `int`"),
        ("provider = []", "(in 'provider')"),
        ("provider = 5", "(in 'provider')"),
        ('family = "gpt"', "no family 'gpt': there are claude, "),
        ("family = 5", "no family 5"),
    ],
)
def test_a_faulty_rule_is_an_error_that_names_the_file_the_rule_and_the_fault(
    tmp_path: Path, line: str, complaint: str
) -> None:
    stated = {
        "models": 'models = ["*"]',
        "minimum_tokens": "minimum_tokens = 4",
        line.split(" = ", maxsplit=1)[0]: line,
    }
    with pytest.raises(ForkpointError) as caught:
        own_rules(tmp_path, "[[rule]]\n" + "\n".join(stated.values()))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'rules.toml'}: rule 1: ")
    assert complaint in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "missing required field `rule`"),
        ("rule = 5", "Expected `array`, got `int` (in 'rule')"),
        ("rule = [5]", "Expected `object`, got `int`"),
        ("[[rule]]\nminimum_tokens = 4", "rule 1: The table missing required field `models`"),
        ('[[rule]]\nmodels = ["*"]', "rule 1: The table missing required field `minimum_tokens`"),
        (ONE_RULE + "[[rule]]\n", "rule 2: "),
        (ONE_RULE + "[other]\n", "unknown field `other`"),
        ("[family]\nours = 5\n" + ONE_RULE, "Expected `object`, got `int`"),
        ("as_of = 2026-01-01\n" + ONE_RULE, "'as_of' are for the built-in rules alone"),
        ("[[rule]", "Expected"),
        ("x = " + "[" * 100_000, "nested too deep"),
    ],
)
def test_a_faulty_file_is_an_error_that_names_it_and_the_fault(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ForkpointError) as caught:
        own_rules(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "rules.toml"))
    assert complaint in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ForkpointError, match=r"absent\.toml: No such file"):
        load_rules(tmp_path / "absent.toml")
    with pytest.raises(ForkpointError, match="directory"):
        load_rules(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'x = "\xe9"')
    with pytest.raises(ForkpointError, match=r"latin\.toml: is not UTF-8"):
        load_rules(tmp_path / "latin.toml")


# --- agreement with the price list ---

KNOWN_DIFFERENCES = {
    "claude-sonnet-5-5": "sources disagree on reads, 0.05 or 0.1: the rule has the dearer one",
    "claude-3-haiku": "the price list rounds $0.03 and $0.30 per million",
    "gemini-4-argon": "reads are listed at 95 % off; Google's page says 90 %",
}


def _base(price: object) -> float | None:
    price = price.base if isinstance(price, TieredPrices) else price
    return None if price is None else float(str(price))


def _differs(price: ModelPrice, rule: CacheRule) -> list[str]:
    """The cache prices of a model that its rule does not give."""
    per_input = {
        "read": (price.cache_read_mtok, rule.read_multiplier),
        "write": (price.cache_write_mtok, rule.write_multiplier),
        "write_1h": (price.cache_write_1h_mtok, rule.write_1h_multiplier),
    }
    whole = _base(price.input_mtok)
    assert whole is not None
    return [
        f"{name}: {listed / whole} listed, {multiplier} by the rule"
        for name, (listed_price, multiplier) in per_input.items()
        if (listed := _base(listed_price)) is not None
        and (multiplier is None or abs(listed / whole - multiplier) > 0.01 * multiplier)
    ]


def test_the_multipliers_give_the_cache_prices_of_the_price_list(built_in: Rules) -> None:
    compared, different = 0, {}
    for provider in get_snapshot().providers:
        if provider.id not in ("anthropic", "openai", "google", "deepseek", "aws"):
            continue
        for model in provider.models:
            price = model.get_prices(NOW.replace(tzinfo=UTC))
            rule = built_in.rule_for(provider.id, model.id, NOW)
            if rule is None or price.input_mtok is None or price.cache_read_mtok is None:
                continue
            compared += 1
            if found := _differs(price, rule):
                different[plain_name(model.id)] = found
    assert compared > 80
    assert different.keys() == KNOWN_DIFFERENCES.keys(), different


def test_models_with_a_rule_have_a_cache_price(built_in: Rules) -> None:
    """A rule for a model without a discount would promise savings that nobody gets."""
    bare = {
        (provider.id, model.id)
        for provider in get_snapshot().providers
        if provider.id in ("anthropic", "openai", "deepseek")
        for model in provider.models
        if built_in.rule_for(provider.id, model.id, NOW) is not None
        and model.get_prices(NOW.replace(tzinfo=UTC)).cache_read_mtok is None
    }
    # The first gpt-4o and its long-output version went before caching; both are withdrawn, and
    # their names differ from later ones only in what a plain name leaves out.
    assert bare == {("openai", "gpt-4o-2024-05-13"), ("openai", "gpt-4o:extended")}
