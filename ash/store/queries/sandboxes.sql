-- name: wake_sandbox
-- A cold sandbox that starts again.
UPDATE sandboxes SET state = 'live' WHERE id = :id AND state = 'cold' RETURNING id;

-- name: add_sandbox
-- A sandbox that starts, for the first time or again.
INSERT INTO sandboxes (
    id, tenant_id, agent_name, agent_version, owner, state, created_at, updated_at
)
VALUES (:id, :tenant, :agent, :version, :owner, 'live', :now, :now)
ON CONFLICT (id) DO UPDATE SET
    state = 'live', agent_version = excluded.agent_version, updated_at = excluded.updated_at;

-- name: move_sandbox
-- A sandbox whose processes are gone and whose files are kept, or not.
UPDATE sandboxes SET state = :state, updated_at = :now WHERE id = :id;

-- name: remove_sandbox
-- A sandbox of which nothing is left.
DELETE FROM sandboxes WHERE id = :id;

-- name: count_sandboxes
-- How many sandboxes of a daemon are in a state.
SELECT count(*) AS total FROM sandboxes WHERE owner = :owner AND state = :state;

-- name: settle_sandboxes
-- After a crash: what lived and has a session is cold.
UPDATE sandboxes SET state = 'cold', updated_at = :now
WHERE owner = :owner AND state = 'live'
    AND EXISTS (SELECT 1 FROM sessions WHERE sessions.id = sandboxes.id);

-- name: drop_sandboxes
-- After a crash: what lived for no session has left nothing.
DELETE FROM sandboxes WHERE owner = :owner AND state = 'live';
