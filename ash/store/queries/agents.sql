-- name: deploy_agent
-- Stores an agent's first or next version; a NULL leaves the column as it was.
INSERT INTO agents (
    id, tenant_id, name, version, path, source, env, description, model, config,
    created_at, updated_at
)
VALUES (
    :id, :tenant, :name, 1, :path, :source, coalesce(:env, '{}'), :description, :model, :config,
    :now, :now
)
ON CONFLICT (tenant_id, name) DO UPDATE SET
    version = agents.version + 1,
    path = excluded.path,
    source = excluded.source,
    env = coalesce(:env, agents.env),
    description = coalesce(:description, agents.description),
    model = coalesce(:model, agents.model),
    config = coalesce(:config, agents.config),
    updated_at = excluded.updated_at
RETURNING *;

-- name: agent
-- One agent of a tenant.
SELECT * FROM agents WHERE tenant_id = :tenant AND name = :name;

-- name: all_agents
-- Agents of all tenants.
SELECT * FROM agents ORDER BY tenant_id, name;

-- name: agents
-- All agents of a tenant by name.
SELECT * FROM agents WHERE tenant_id = :tenant ORDER BY name;

-- name: delete_agent
-- Deletes an agent and returns it, so that its files can be deleted too.
DELETE FROM agents WHERE tenant_id = :tenant AND name = :name RETURNING *;
