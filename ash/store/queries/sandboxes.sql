-- name: restart_sandbox
-- Makes a cold sandbox live again, and returns its id.
UPDATE sandboxes SET state = 'live' WHERE id = :id AND state = 'cold' RETURNING id;

-- name: add_sandbox
-- Stores a sandbox that starts, for the first time or again.
INSERT INTO sandboxes (
    id, tenant_id, agent_name, agent_version, owner, state, created_at, updated_at
)
VALUES (:id, :tenant, :agent, :version, :owner, 'live', :now, :now)
ON CONFLICT (id) DO UPDATE SET
    state = 'live', agent_version = excluded.agent_version, updated_at = excluded.updated_at;

-- name: move_sandbox
-- Changes a sandbox's state.
UPDATE sandboxes SET state = :state, updated_at = :now WHERE id = :id;

-- name: remove_sandbox
-- Deletes a sandbox whose files are gone.
DELETE FROM sandboxes WHERE id = :id;

-- name: count_sandboxes
-- How many sandboxes of a daemon are in a state.
SELECT count(*) AS total FROM sandboxes WHERE owner = :owner AND state = :state;

-- name: recover_sandboxes
-- After a crash, marks live sandboxes that have a session as cold.
UPDATE sandboxes SET state = 'cold', updated_at = :now
WHERE owner = :owner AND state = 'live'
    AND EXISTS (SELECT 1 FROM sessions WHERE sessions.id = sandboxes.id);

-- name: drop_sandboxes
-- After a crash, deletes live sandboxes that have no session.
DELETE FROM sandboxes WHERE owner = :owner AND state = 'live';
