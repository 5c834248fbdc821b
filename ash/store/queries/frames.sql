-- name: frames_after
-- The stored frames of a session after an id; a message has the id of the last frame made of it.
SELECT start_frame AS frame, 'session_start' AS event, version AS text, NULL AS sequence, origin
FROM turns
WHERE
    session_id = (SELECT id FROM sessions WHERE id = :session_id AND tenant_id = :tenant)
    AND start_frame > :after
UNION ALL
SELECT frame, 'message', NULL, sequence, NULL
FROM messages
WHERE
    session_id = (SELECT id FROM sessions WHERE id = :session_id AND tenant_id = :tenant)
    AND frame > :after
UNION ALL
SELECT error_frame, 'error', error, NULL, NULL
FROM turns
WHERE
    session_id = (SELECT id FROM sessions WHERE id = :session_id AND tenant_id = :tenant)
    AND error_frame > :after
UNION ALL
SELECT end_frame, 'done', reason, NULL, NULL
FROM turns
WHERE
    session_id = (SELECT id FROM sessions WHERE id = :session_id AND tenant_id = :tenant)
    AND end_frame > :after
ORDER BY frame
LIMIT :limit;

-- name: turns_between
-- How many turns of a session were running at a frame id: begun by then, and not ended.
SELECT count(*) AS total
FROM turns
WHERE
    session_id = (SELECT id FROM sessions WHERE id = :session_id AND tenant_id = :tenant)
    AND start_frame <= :upto
    AND start_frame > coalesce(
        (
            SELECT max(ended.end_frame) FROM turns AS ended
            WHERE ended.session_id = :session_id AND ended.end_frame <= :upto
        ),
        0
    );
