-- name: begin_turn
-- Stores a turn that has not ended.
INSERT INTO turns (id, session_id, start_frame, version, origin, created_at)
VALUES (:id, :session_id, :start_frame, :version, :origin, :now);

-- name: end_turn
-- Ends a turn, once.
UPDATE turns SET
    reason = :reason,
    error = :error,
    end_frame = :end_frame,
    error_frame = :error_frame,
    ended_at = :now
WHERE id = :id AND session_id = :session_id AND reason IS NULL;

-- name: open_turns
-- Turns of a daemon without an end, of one session if given; two frame ids are free for the end of each.
SELECT
    turns.id,
    turns.session_id,
    sessions.generation,
    sessions.next_frame - 2 + 2 * row_number() OVER (
        PARTITION BY turns.session_id ORDER BY turns.start_frame
    ) AS error_frame
FROM turns
INNER JOIN sessions ON sessions.id = turns.session_id
WHERE
    turns.reason IS NULL
    AND sessions.owner = :owner
    AND (CAST(:session_id AS TEXT) IS NULL OR sessions.id = :session_id)
ORDER BY turns.session_id, turns.start_frame;

-- name: add_message
-- Adds the next message of a session.
INSERT INTO messages (session_id, sequence, id, turn_id, role, content, frame, created_at)
SELECT
    :session_id, coalesce(max(sequence), 0) + 1, :id, :turn_id, :role, :content, :frame, :now
FROM messages
WHERE session_id = :session_id
RETURNING id, sequence;

-- name: add_event
-- Adds the next event of a session's timeline.
INSERT INTO events (session_id, sequence, id, type, data, created_at)
SELECT :session_id, coalesce(max(sequence), 0) + 1, :id, :type, :data, :now
FROM events
WHERE session_id = :session_id;

-- name: messages
-- A session's messages after a sequence number, oldest first.
SELECT messages.*, sessions.tenant_id
FROM messages
INNER JOIN sessions ON sessions.id = messages.session_id
WHERE
    sessions.id = :session_id
    AND sessions.tenant_id = :tenant
    AND messages.sequence > :after
ORDER BY messages.sequence
LIMIT :limit;

-- name: latest_messages
-- A session's messages before a sequence number, newest first; only for the daemon itself.
SELECT messages.*, sessions.tenant_id
FROM messages
INNER JOIN sessions ON sessions.id = messages.session_id
WHERE sessions.id = :session_id AND messages.sequence < :before
ORDER BY messages.sequence DESC
LIMIT :limit;

-- name: events
-- A session's timeline events after a sequence number, oldest first, of one type if given.
SELECT events.*, sessions.tenant_id
FROM events
INNER JOIN sessions ON sessions.id = events.session_id
WHERE
    sessions.id = :session_id
    AND sessions.tenant_id = :tenant
    AND events.sequence > :after
    AND (CAST(:type AS TEXT) IS NULL OR events.type = :type)
ORDER BY events.sequence
LIMIT :limit;

-- name: finished_up_to
-- The sequence of a session's last message before the running turn.
SELECT coalesce(
    (
        SELECT min(messages.sequence) - 1
        FROM turns
        INNER JOIN messages ON messages.turn_id = turns.id AND messages.session_id = turns.session_id
        WHERE turns.session_id = :session_id AND turns.reason IS NULL
    ),
    (SELECT max(sequence) FROM messages WHERE session_id = :session_id),
    0
) AS last;

-- name: copy_message
-- Copies a message of a session's parent, with its sequence number.
INSERT INTO messages (session_id, sequence, id, role, content, created_at)
VALUES (:session_id, :sequence, :id, :role, :content, :created_at);
