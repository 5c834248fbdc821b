-- name: add_row
-- Adds the next row of a session's history if the session has the generation and status, when given.
INSERT INTO history (
    key, kind, label, content, origin, turn, frame, messages, events, created_at
)
SELECT
    coalesce(last.key, sessions.number << 32) + 1,
    :kind,
    :label,
    CAST(:content AS TEXT),
    :origin,
    CASE :kind
        WHEN 'begin' THEN coalesce(last.key, sessions.number << 32) + 1
        WHEN 'end' THEN NULL
        ELSE last.turn
    END,
    coalesce(:frame, last.frame, 0),
    coalesce(last.messages, 0) + :messages,
    coalesce(last.events, 0) + :events,
    :now
FROM sessions
LEFT JOIN history AS last
    ON last.key = (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    )
WHERE
    sessions.id = :session_id
    AND (CAST(:generation AS INTEGER) IS NULL OR sessions.generation = :generation)
    AND (CAST(:status AS TEXT) IS NULL OR sessions.status = :status)
RETURNING key, messages;

-- name: open_turn
-- Notes that the turn whose begin is the last row of a session has not ended.
INSERT INTO open_turns (turn)
SELECT (
    SELECT max(key) FROM history
    WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
)
FROM sessions
WHERE id = :session_id;

-- name: close_turn
-- Ends a turn, once.
DELETE FROM open_turns WHERE turn = :turn;

-- name: open_turns
-- Turns of a daemon without an end, of one session if given; two frame ids are free for the end of each.
SELECT
    open_turns.turn,
    sessions.id AS session_id,
    sessions.generation,
    sessions.next_frame - 2 + 2 * row_number() OVER (
        PARTITION BY sessions.id ORDER BY open_turns.turn
    ) AS error_frame
FROM open_turns
INNER JOIN sessions ON sessions.number = open_turns.turn >> 32
WHERE
    sessions.owner = :owner
    AND (CAST(:session_id AS TEXT) IS NULL OR sessions.id = :session_id)
ORDER BY open_turns.turn;

-- name: messages
-- A session's messages after a sequence number, oldest first.
WITH RECURSIVE
span (session_id, tenant_id, first, last) AS (
    SELECT id, tenant_id, number << 32, (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    )
    FROM sessions WHERE id = :session_id AND tenant_id = :tenant
),
search (low, high) AS (
    SELECT first + 1, last + 1 FROM span
    UNION ALL
    SELECT
        CASE WHEN middle.messages > :after THEN search.low ELSE middle.key + 1 END,
        CASE WHEN middle.messages > :after THEN middle.key ELSE search.high END
    FROM search
    INNER JOIN history AS middle ON middle.key = (search.low + search.high) / 2
    WHERE search.low < search.high
)
SELECT history.*, span.session_id, span.tenant_id
FROM span
INNER JOIN history
    ON history.key >= (SELECT max(low) FROM search) AND history.key <= span.last
WHERE history.kind IN ('begin', 'message', 'copy') AND history.content IS NOT NULL
ORDER BY history.key
LIMIT :limit;

-- name: latest_messages
-- A session's messages up to a sequence number, newest first; only for the daemon itself.
WITH RECURSIVE
span (session_id, tenant_id, first, last) AS (
    SELECT id, tenant_id, number << 32, (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    )
    FROM sessions WHERE id = :session_id
),
search (low, high) AS (
    SELECT first + 1, last + 1 FROM span
    UNION ALL
    SELECT
        CASE WHEN middle.messages > :after THEN search.low ELSE middle.key + 1 END,
        CASE WHEN middle.messages > :after THEN middle.key ELSE search.high END
    FROM search
    INNER JOIN history AS middle ON middle.key = (search.low + search.high) / 2
    WHERE search.low < search.high
)
SELECT history.*, span.session_id, span.tenant_id
FROM span
INNER JOIN history ON history.key > span.first AND history.key < (SELECT max(low) FROM search)
WHERE history.kind IN ('begin', 'message', 'copy') AND history.content IS NOT NULL
ORDER BY history.key DESC
LIMIT :limit;

-- name: rows_with_events
-- A session's rows that stand for timeline events after a sequence number, oldest first.
WITH RECURSIVE
span (session_id, tenant_id, first, last) AS (
    SELECT id, tenant_id, number << 32, (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    )
    FROM sessions WHERE id = :session_id AND tenant_id = :tenant
),
search (low, high) AS (
    SELECT first + 1, last + 1 FROM span
    UNION ALL
    SELECT
        CASE WHEN middle.events > :after THEN search.low ELSE middle.key + 1 END,
        CASE WHEN middle.events > :after THEN middle.key ELSE search.high END
    FROM search
    INNER JOIN history AS middle ON middle.key = (search.low + search.high) / 2
    WHERE search.low < search.high
)
SELECT
    history.*, span.session_id, span.tenant_id,
    history.events - coalesce(before.events, 0) AS added
FROM span
INNER JOIN history
    ON history.key >= (SELECT max(low) FROM search) AND history.key <= span.last
LEFT JOIN history AS before ON before.key = history.key - 1
WHERE history.events > coalesce(before.events, 0)
ORDER BY history.key
LIMIT :limit;

-- name: finished_up_to
-- The sequence of a session's last message before the running turn.
SELECT coalesce(
    (
        SELECT min(
            CASE WHEN begun.content IS NULL THEN begun.messages ELSE begun.messages - 1 END
        )
        FROM open_turns
        INNER JOIN history AS begun ON begun.key = open_turns.turn
        WHERE
            open_turns.turn > sessions.number << 32
            AND open_turns.turn < (sessions.number + 1) << 32
    ),
    (
        SELECT messages FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
        ORDER BY key DESC
        LIMIT 1
    ),
    0
) AS last
FROM sessions
WHERE id = :session_id;

-- name: copy_messages
-- Copies a session's messages up to a sequence number into a new one, with their numbers.
INSERT INTO history (key, kind, label, content, frame, messages, events, created_at)
SELECT
    (forked.number << 32) + row_number() OVER (ORDER BY history.key),
    'copy',
    CASE history.kind
        WHEN 'begin' THEN 'user' WHEN 'message' THEN 'assistant' ELSE history.label
    END,
    history.content,
    0,
    history.messages,
    0,
    history.created_at
FROM sessions AS parent
INNER JOIN sessions AS forked ON forked.id = :fork_id
INNER JOIN history
    ON history.key > parent.number << 32 AND history.key < (parent.number + 1) << 32
WHERE
    parent.id = :session_id
    AND history.kind IN ('begin', 'message', 'copy')
    AND history.content IS NOT NULL
    AND history.messages <= :upto;
