-- name: frames_after
-- The rows of a session that have frames after an id; those of a message end with the row's frame.
WITH RECURSIVE
span (first, last) AS (
    SELECT number << 32, (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    )
    FROM sessions WHERE id = :session_id AND tenant_id = :tenant
),
search (low, high) AS (
    SELECT first + 1, last + 1 FROM span
    UNION ALL
    SELECT
        CASE WHEN middle.frame > :after THEN search.low ELSE middle.key + 1 END,
        CASE WHEN middle.frame > :after THEN middle.key ELSE search.high END
    FROM search
    INNER JOIN history AS middle ON middle.key = (search.low + search.high) / 2
    WHERE search.low < search.high
)
SELECT
    history.kind,
    history.label,
    history.origin,
    history.frame,
    history.messages,
    CASE WHEN history.kind = 'end' THEN history.content END AS error
FROM span
INNER JOIN history
    ON history.key >= (SELECT max(low) FROM search) AND history.key <= span.last
WHERE history.kind IN ('begin', 'message', 'end')
ORDER BY history.key
LIMIT :limit;

-- name: turn_at
-- Whether a turn was running at a frame id: begun by then, and not ended.
WITH RECURSIVE
span (first, last) AS (
    SELECT number << 32, (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    )
    FROM sessions WHERE id = :session_id AND tenant_id = :tenant
),
search (low, high) AS (
    SELECT first + 1, last + 1 FROM span
    UNION ALL
    SELECT
        CASE WHEN middle.frame > :after THEN search.low ELSE middle.key + 1 END,
        CASE WHEN middle.frame > :after THEN middle.key ELSE search.high END
    FROM search
    INNER JOIN history AS middle ON middle.key = (search.low + search.high) / 2
    WHERE search.low < search.high
)
SELECT history.turn IS NOT NULL AS running
FROM history
WHERE key = (SELECT max(low) - 1 FROM search);
