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
SELECT * FROM sessions WHERE id = :id AND tenant_id = :tenant;

-- name: session_by_id
-- One session of any tenant; only for the daemon itself, never for a client.
SELECT * FROM sessions WHERE id = :id;

-- name: sessions
-- A page of a tenant's sessions, newest first, of one agent or status if given.
SELECT * FROM sessions
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
RETURNING *;

-- name: advance_session
-- Updates a session's activity; locks its row, so that sequence numbers are given out one by one.
UPDATE sessions SET
    last_active_at = :now,
    conversation = coalesce(:conversation, conversation),
    next_frame = CASE WHEN :next_frame > next_frame THEN :next_frame ELSE next_frame END
WHERE
    id = :id
    AND (CAST(:generation AS INTEGER) IS NULL OR generation = :generation)
RETURNING tenant_id;

-- name: advance_active_session
-- Like `advance_session`, but only for an active session.
UPDATE sessions SET
    last_active_at = :now,
    next_frame = CASE WHEN :next_frame > next_frame THEN :next_frame ELSE next_frame END
WHERE id = :id AND generation = :generation AND status = 'active'
RETURNING tenant_id;

-- name: running_sessions
-- The sessions of a daemon whose status says that they run.
SELECT * FROM sessions WHERE status IN ('starting', 'active') AND owner = :owner;

-- name: configure_session
-- Replaces the settings that a session's owner may change.
UPDATE sessions SET model = :model, config = :config WHERE id = :id;
