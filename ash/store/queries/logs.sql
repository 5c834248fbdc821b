-- name: add_log
-- Adds the next line of a session's log.
INSERT INTO logs (session_id, line, level, text, ts)
SELECT :session_id, coalesce(max(line), -1) + 1, :level, :text, :ts
FROM logs
WHERE session_id = :session_id;

-- name: trim_logs
-- Deletes all but the last `keep` lines of a session's log.
DELETE FROM logs
WHERE
    session_id = :session_id
    AND line <= (SELECT max(line) FROM logs WHERE session_id = :session_id) - :keep;

-- name: logs
-- A session's log lines after a line number, oldest first.
SELECT logs.*
FROM logs
INNER JOIN sessions ON sessions.id = logs.session_id
WHERE sessions.id = :session_id AND sessions.tenant_id = :tenant AND logs.line > :after
ORDER BY logs.line
LIMIT :limit;
