-- The store is the prefix tree of all calls. Hashes are UUIDs: 128 bits of SHA-256 over content, so
-- rows from any file, process or machine merge by set union. Times are UTC.

-- One row per file seen, readable or not. A file that is gone keeps its rows but is marked deleted,
-- and no report counts it.
CREATE TABLE sources (
    source_id   INTEGER NOT NULL,
    path        VARCHAR NOT NULL,   -- absolute
    format      VARCHAR,            -- parser name; NULL: no parser claims the file
    note        VARCHAR,            -- why it was claimed, or why it is not read
    n_bytes     BIGINT NOT NULL,    -- on disk
    mtime_ns    BIGINT NOT NULL,
    read_bytes  BIGINT NOT NULL,    -- decompressed bytes consumed: where a grown file is read on
    next_line   BIGINT NOT NULL,    -- 1-based number of the first line not consumed
    head_hash   BLOB,               -- SHA-256 of the first 64 KiB (or less) and of the 4 KiB before
    tail_hash   BLOB,               -- read_bytes: equal hashes mean that the file only grew
    checkpoint  BLOB,               -- what the parser needs to go on, Zstandard-compressed
    merged      BIGINT NOT NULL,    -- records that described a call once more and were not counted
    unlisted_tokens BIGINT NOT NULL, -- that totals in the file state beyond the calls it lists
    deleted     BOOLEAN NOT NULL
);

-- One row per distinct content block.
CREATE TABLE segments (
    segment       UUID NOT NULL,    -- hash of kind, role and canonical content
    kind          VARCHAR NOT NULL, -- tools, system, text, thinking, tool_call, tool_result, media,
                                    -- rendered, tokens, block, unlogged
    role          VARCHAR NOT NULL,
    n_bytes       BIGINT NOT NULL,  -- of canonical content, UTF-8
    n_tokens      BIGINT,           -- NULL: not needed (billed usage gives the size) or not countable
    source_id     INTEGER NOT NULL, -- one place where it stands
    record_offset BIGINT NOT NULL,
    text          VARCHAR           -- with --keep-text only
);

-- One row per distinct prefix. The empty prefix has no row; its hash is all zeros.
CREATE TABLE nodes (
    node    UUID NOT NULL,          -- H(parent, segment)
    parent  UUID NOT NULL,
    segment UUID NOT NULL,
    root    UUID NOT NULL           -- the path's first node: trees that share nothing load apart
);

-- Siblings of a fork in content order, with the tokens each shares with the one before it in that
-- order. Any two siblings share the minimum over the ranks between them (the LCP array of a sorted
-- list), so the common head of any subset can be read off.
CREATE TABLE siblings (
    parent        UUID NOT NULL,
    node          UUID NOT NULL,
    sibling_rank  INTEGER NOT NULL,
    shared_tokens BIGINT            -- with the sibling of the rank before; NULL: text unreadable now
);

-- One row per logged occurrence of a call; copies are told apart in the view unique_calls.
CREATE TABLE calls (
    source_id          INTEGER NOT NULL,
    line               BIGINT NOT NULL,
    record_offset      BIGINT NOT NULL,
    call_id            UUID NOT NULL,  -- hash of the logged identity, or of the place without one
    scope              VARCHAR NOT NULL, -- '' or the trace within which call_id is unique
    request            UUID,           -- hash of a second id that copies may lack
    trace_id           VARCHAR NOT NULL,
    started_at         TIMESTAMP,
    duration_s         DOUBLE,
    provider           VARCHAR,
    model              VARCHAR,
    sidechain          BOOLEAN NOT NULL,
    breakpoints        INTEGER,        -- cache breakpoints set in the request; NULL: not logged
    service_tier       VARCHAR,
    miss_reason        VARCHAR,        -- the provider's own word
    logged_cost_usd    DOUBLE,
    is_sum             BOOLEAN NOT NULL, -- several requests that the log counts only together
    prompt             UUID NOT NULL,  -- node where the prompt ends
    completion         UUID,
    text               UUID,           -- where token ids were logged with their text: its end as text
    text_start         BIGINT,         -- bytes of that text that are the prompt's, if it is one text
    input_tokens       BIGINT,         -- billed, inclusive: uncached + cache read + cache write
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    cache_write_1h_tokens BIGINT,      -- part of cache_write_tokens
    output_tokens      BIGINT,
    reasoning_tokens   BIGINT          -- part of output_tokens
);

-- Agent runs and rollouts, as their logs describe them.
CREATE TABLE traces (
    source_id   INTEGER NOT NULL,
    trace_id    VARCHAR NOT NULL,
    parent_id   VARCHAR,               -- the trace that spawned it
    forked_from VARCHAR,               -- the trace whose history it replays
    project     VARCHAR,
    agent       VARCHAR,
    group_id    VARCHAR,               -- rollouts of one task; NULL: not a rollout
    reward      DOUBLE,
    answer      VARCHAR,
    leaf        UUID,                  -- node where a rollout ends
    prompt      UUID,                  -- node where its prompt ends, if it has no call of its own
    from_root   BOOLEAN NOT NULL,      -- nothing of its prompt is logged: all its content was generated
    title       VARCHAR
);

-- Completions whose tokens were logged with their probabilities: one row each.
CREATE TABLE scores (
    source_id     INTEGER NOT NULL,
    line          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    choice        INTEGER NOT NULL,  -- numbers the completions of one record from 0
    trace_id      VARCHAR NOT NULL,
    prompt        UUID NOT NULL,     -- node where the prompt ends
    completion    UUID NOT NULL
);

-- Their tokens, with what bounds the entropy at each position (nats; forkpoint.analysis.entropy).
CREATE TABLE scored_tokens (
    source_id     INTEGER NOT NULL,
    record_offset BIGINT NOT NULL,
    choice        INTEGER NOT NULL,
    position      INTEGER NOT NULL,  -- from 0 at the completion's first token
    token         BIGINT NOT NULL,   -- its id, or 63 bits of its text's hash
    logprob       DOUBLE,            -- ln p of the sampled token; NaN: not logged
    named_entropy DOUBLE,            -- -sum p ln p over the tokens whose p is known
    tail          DOUBLE,            -- probability of all others together
    cap           DOUBLE,            -- the most that one of the others can have
    named         INTEGER,           -- how many are known; 0: the whole entropy was logged
    confidence    DOUBLE             -- minus the mean logprob of the top k (DeepConf); NaN: not logged
);

-- Answers that texts of rollouts were found to state.
CREATE TABLE stated_answers (
    node    UUID NOT NULL,     -- where the text ends
    pattern VARCHAR NOT NULL,  -- what the user had looked for first; '' for the built-in patterns
    answer  VARCHAR            -- NULL: none
);

-- Replays: logged sequences run through a model, to measure what their logs do not hold. One row for
-- each model and way of running it.
CREATE TABLE replays (
    replay_id       VARCHAR NOT NULL, -- hash of what follows: a later run goes on with it
    model           VARCHAR NOT NULL,
    model_sha256    VARCHAR,          -- of its files; NULL: a server does not tell
    tokenizer       VARCHAR,          -- SHA-256 of the tokenizer and its chat template
    vocabulary_size BIGINT,
    backend         VARCHAR NOT NULL, -- transformers, vllm, or server and its kind
    dtype           VARCHAR,
    device          VARCHAR,
    seed            BIGINT NOT NULL,
    versions        VARCHAR NOT NULL, -- of the libraries, as JSON
    settings        VARCHAR NOT NULL, -- whatever else was chosen, as JSON; sizes of batches and
                                      -- threads, which change last digits, are no part of the hash
    started_at      TIMESTAMP NOT NULL
);

-- What each has measured so far. Rows go by content, so they outlive the logs they were read from.
CREATE TABLE replayed (
    replay_id     VARCHAR NOT NULL,
    prompt        UUID NOT NULL,      -- node where the prompt ends
    completion    UUID NOT NULL,      -- node where the completion ends; the prompt: its own tokens
    evidence      VARCHAR NOT NULL,   -- token ids, messages or text: what the log had of it
    prompt_tokens BIGINT NOT NULL,    -- as the model counts them
    n_tokens      BIGINT NOT NULL,    -- measured
    cached_tokens BIGINT              -- taken from an engine's prefix cache; NULL: not measured
);

-- Their tokens. Columns as in scored_tokens.
CREATE TABLE replayed_tokens (
    replay_id     VARCHAR NOT NULL,
    prompt        UUID NOT NULL,
    completion    UUID NOT NULL,
    position      INTEGER NOT NULL,   -- from 0 at the first measured token
    token         BIGINT NOT NULL,    -- the model's id
    logprob       DOUBLE,
    named_entropy DOUBLE,
    tail          DOUBLE,
    cap           DOUBLE,
    named         INTEGER,
    confidence    DOUBLE,
    top_tokens    INTEGER[],          -- the likeliest tokens, likeliest first
    top_logprobs  FLOAT[]
);

-- Chains before answers that replays pruned: what can be deleted while the answer stays as likely.
CREATE TABLE pruned_chains (
    pruning_id     VARCHAR NOT NULL,   -- hash of the next eight: a later run goes on with it
    replay_id      VARCHAR NOT NULL,
    prompt         UUID NOT NULL,
    completion     UUID NOT NULL,
    unit           VARCHAR NOT NULL,   -- token or sentence: what is deleted as a whole
    loss_nats      DOUBLE NOT NULL,    -- the most that ln p of the answer may lose
    round_share    DOUBLE NOT NULL,    -- of what is left, deleted after each look
    chain_tokens   BIGINT NOT NULL,    -- generated before the answer
    answer_tokens  BIGINT NOT NULL,
    answer_logprob DOUBLE NOT NULL,    -- ln p of the answer behind the whole chain
    pruned_logprob DOUBLE NOT NULL,    -- and behind what was kept
    rounds         BIGINT NOT NULL,
    pruned_at      TIMESTAMP NOT NULL
);

-- Their tokens.
CREATE TABLE pruned_tokens (
    pruning_id VARCHAR NOT NULL,
    position   INTEGER NOT NULL,       -- from 0 at the first generated token
    token      BIGINT NOT NULL,        -- the model's id
    deleted_in INTEGER NOT NULL,       -- the round in which it was deleted; 0: kept
    loss       DOUBLE                  -- nats that the answer loses without its unit, as last seen
);

-- Texts of the tokens of the models that were run: a vocabulary, not what was said.
CREATE TABLE replay_vocabularies (
    tokenizer VARCHAR NOT NULL,
    token     BIGINT NOT NULL,
    text      VARCHAR NOT NULL
);

-- Groups of rollouts.
CREATE VIEW groups AS
SELECT group_id, count(DISTINCT trace_id) AS rollouts, avg(reward) AS mean_reward
FROM traces JOIN sources USING (source_id)
WHERE group_id IS NOT NULL AND NOT deleted
GROUP BY group_id;

-- Records that could not be read.
CREATE TABLE issues (
    source_id     INTEGER NOT NULL,
    line          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    reason        VARCHAR NOT NULL
);

-- Rates in USD per million tokens, one row per model, period, time of day and size tier; see
-- forkpoint.analysis.pricing.Rate.
CREATE TABLE prices (
    provider           VARCHAR,
    model              VARCHAR,          -- as the calls name it
    valid_from         TIMESTAMP,
    valid_until        TIMESTAMP,
    day_from           INTEGER,          -- seconds of the UTC day, half-open
    day_until          INTEGER,
    min_input_tokens   BIGINT,           -- applies to prompts of more tokens than this
    input_usd          DOUBLE,
    cache_read_usd     DOUBLE,
    cache_write_usd    DOUBLE,
    cache_write_1h_usd DOUBLE,
    output_usd         DOUBLE,
    request_usd        DOUBLE,           -- per request, in USD
    priced_model       VARCHAR,          -- as the price book names it
    source             VARCHAR
);

-- Reports that were made of the store as it is: asking the same again costs nothing. A row holds only
-- while `generation` is the store's own (see meta).
CREATE TABLE answers (
    question   VARCHAR NOT NULL,   -- hash of what was asked: paths, filters, prices, rules, versions
    generation BIGINT NOT NULL,
    body       BLOB NOT NULL       -- the report, as JSON
);

-- Facts about the store itself: schema version, tokenizer, price book, generation (raised by every
-- change of what was read), refined (the generation whose forks are ranked in siblings).
CREATE TABLE meta (
    key   VARCHAR NOT NULL,
    value VARCHAR NOT NULL
);

-- For each trace that replays another's history: the first ancestor, within which call ids are one.
CREATE VIEW trace_roots AS
WITH RECURSIVE links AS (
    SELECT trace_id, min(forked_from) AS forked_from
    FROM traces JOIN sources USING (source_id)
    WHERE forked_from IS NOT NULL AND forked_from <> trace_id AND NOT deleted
    GROUP BY trace_id
), ancestors AS (
    SELECT trace_id, forked_from AS root, 1 AS steps FROM links
    UNION ALL
    SELECT ancestors.trace_id, links.forked_from, steps + 1
    FROM ancestors JOIN links ON ancestors.root = links.trace_id
    WHERE steps < 64
)
SELECT trace_id, arg_max(root, steps) AS root FROM ancestors GROUP BY trace_id;

-- Every occurrence of a call in a file that still exists, with the scope its id is unique in.
CREATE VIEW live_calls AS
SELECT calls.*, coalesce(trace_roots.root, calls.scope) AS root_scope, sources.path, sources.format
FROM calls
JOIN sources USING (source_id)
LEFT JOIN trace_roots ON calls.scope = trace_roots.trace_id
WHERE NOT sources.deleted;
