"""What losses are called, in results, reports and docs. Names alone: nothing is computed here."""

from __future__ import annotations

COMPACTION = "compaction"
TOOLS_CHANGED = "tools changed"
SYSTEM_CHANGED = "system prompt changed"
MESSAGES_CHANGED = "messages changed"
START_CHANGED = "beginning changed (not logged)"
ANSWER = "answer not stored by the provider"
MODEL_SWITCH = "model switch"
EXPIRED = "expired"
TOO_SHORT = "below the minimum"
ROUNDED = "rounded down to whole units"
NO_BREAKPOINT = "no breakpoint"
BEYOND_LOOKBACK = "beyond the lookback"
AFTER_BREAKPOINT = "sent after the last breakpoint"
CONCURRENT = "concurrent fan-out"
NOT_READY = "previous write not readable yet"
UNLOGGED_CHANGE = "changed where the log shows nothing"
UNKNOWN = "evicted or unknown"
NO_RULES = "provider without rules"

PROVIDER_WORDS = {
    "model_changed": MODEL_SWITCH,
    "system_changed": SYSTEM_CHANGED,
    "tools_changed": TOOLS_CHANGED,
    "messages_changed": MESSAGES_CHANGED,
    "input_changed": MESSAGES_CHANGED,
    "context_compacted": COMPACTION,
    "previous_message_not_found": "previous message not found",
    "prompt_cache_key_changed": "cache key changed",
    "text_format_changed": "text format changed",
    "reasoning_effort_changed": "reasoning effort changed",
    "verbosity_changed": "verbosity changed",
    "service_tier_changed": "service tier changed",
}
"""Causes that Anthropic and OpenAI state in their responses. Others (``unavailable``) say nothing."""

LEVELS = ("input", "ideal", "policy", "realized")
"""Steps of the waterfall that are levels, not losses."""
