-- name: create_session
-- Stores a new session.
INSERT INTO sessions (
    id, tenant_id, agent_name, agent_version, sandbox_id, status, runner_id, parent_session_id,
    model, config, settings, owner, generation, next_frame, conversation,
    created_at, last_active_at, agent_source, number
)
VALUES (
    :id, :tenant, :agent_name, :agent_version, :sandbox_id, :status, :runner_id, :parent_session_id,
    :model, :config, :settings, :owner, :generation, :next_frame, :conversation,
    :created_at, :last_active_at,
    :agent_source, (SELECT coalesce(max(number), 0) + 1 FROM sessions)
);

-- name: session
-- One session of a tenant.
SELECT * FROM sessions_with_activity WHERE id = :id AND tenant_id = :tenant;

-- name: session_by_id
-- One session of any tenant; only for the daemon itself, never for a client.
SELECT * FROM sessions_with_activity WHERE id = :id;

-- name: sessions
-- A page of a tenant's sessions, newest first, of one agent or status if given.
SELECT * FROM sessions_with_activity
WHERE
    tenant_id = :tenant
    AND (CAST(:agent AS TEXT) IS NULL OR agent_name = :agent)
    AND (CAST(:status AS TEXT) IS NULL OR status = :status)
ORDER BY number DESC
LIMIT :limit OFFSET :offset;

-- name: count_sessions
-- How many sessions there are on all pages of `sessions`.
SELECT count(*) AS total FROM sessions
WHERE
    tenant_id = :tenant
    AND (CAST(:agent AS TEXT) IS NULL OR agent_name = :agent)
    AND (CAST(:status AS TEXT) IS NULL OR status = :status);

-- name: change_session
-- Changes a session's status if it is one of `sources` (each between spaces) and the generation matches.
UPDATE sessions SET
    status = :target,
    generation = generation + :bump,
    last_active_at = :now
WHERE
    id = :id
    AND :sources LIKE '% ' || status || ' %'
    AND (CAST(:generation AS INTEGER) IS NULL OR generation = :generation)
RETURNING *, last_active_at AS last_written_at;

-- name: reserve_frames
-- Notes that a session's owner may give out the frame ids below `next_frame`.
UPDATE sessions SET
    next_frame = CASE WHEN :next_frame > next_frame THEN :next_frame ELSE next_frame END
WHERE id = :id AND generation = :generation;

-- name: follow_conversation
-- Notes which conversation a session goes on with, if that is another one.
UPDATE sessions SET conversation = :conversation
WHERE
    id = :id AND generation = :generation AND coalesce(conversation, '') <> :conversation;

-- name: running_sessions
-- The sessions of a daemon whose status says that they run.
SELECT * FROM sessions_with_activity WHERE status IN ('starting', 'active') AND owner = :owner;

-- name: configure_session
-- Replaces the settings that a session's owner may change.
UPDATE sessions SET model = :model, config = :config WHERE id = :id;
