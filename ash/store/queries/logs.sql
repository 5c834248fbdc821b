-- name: add_log
-- Adds the next line of a session's log.
INSERT INTO logs (session_id, line, level, text, ts, size)
SELECT
    :session_id,
    coalesce(max(line), -1) + 1,
    :level,
    :text,
    :ts,
    coalesce(max(size), 0) + :size
FROM (
    SELECT line, size FROM logs
    WHERE session_id = :session_id
    ORDER BY line DESC
    LIMIT 1
) AS last;

-- name: trim_logs
-- Deletes the oldest lines of a session's log: all but the last `lines` and the last `bytes`.
DELETE FROM logs
WHERE
    session_id = :session_id
    AND line < (
        SELECT min(line) FROM logs
        WHERE
            session_id = :session_id
            AND line > (SELECT max(line) FROM logs WHERE session_id = :session_id) - :lines
            AND size > (
                SELECT size FROM logs WHERE session_id = :session_id ORDER BY line DESC LIMIT 1
            ) - :bytes
    );

-- name: logs
-- A session's log lines after a line number, oldest first.
SELECT logs.*
FROM logs
INNER JOIN sessions ON sessions.id = logs.session_id
WHERE sessions.id = :session_id AND sessions.tenant_id = :tenant AND logs.line > :after
ORDER BY logs.line
LIMIT :limit;
