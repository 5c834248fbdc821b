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

-- name: keep_deploy
-- Keeps an agent's current version for the sessions that will be made from it.
INSERT INTO deploys (
    source, id, tenant_id, name, version, path, env, description, model, config,
    created_at, updated_at
)
SELECT
    source, id, tenant_id, name, version, path, env, description, model, config,
    created_at, updated_at
FROM agents WHERE tenant_id = :tenant AND name = :name
ON CONFLICT (source) DO NOTHING;

-- name: deploy
-- The version of an agent that was copied to `source`.
SELECT * FROM deploys WHERE source = :source;

-- name: deploys
-- What is kept of an agent's versions.
SELECT * FROM deploys WHERE tenant_id = :tenant AND name = :name;

-- name: all_deploys
-- What is kept of all agents' versions.
SELECT * FROM deploys ORDER BY source;

-- name: drop_unused_deploys
-- Forgets versions of an agent that are neither current nor used by a session that may go on.
DELETE FROM deploys
WHERE
    tenant_id = :tenant
    AND name = :name
    AND NOT EXISTS (
        SELECT 1 FROM agents
        WHERE
            agents.tenant_id = deploys.tenant_id
            AND agents.name = deploys.name
            AND agents.source = deploys.source
    )
    AND NOT EXISTS (
        SELECT 1 FROM sessions
        WHERE sessions.agent_source = deploys.source AND sessions.status <> 'ended'
    );

-- name: drop_all_unused_deploys
-- Like `drop_unused_deploys`, of all agents.
DELETE FROM deploys
WHERE
    NOT EXISTS (
        SELECT 1 FROM agents
        WHERE
            agents.tenant_id = deploys.tenant_id
            AND agents.name = deploys.name
            AND agents.source = deploys.source
    )
    AND NOT EXISTS (
        SELECT 1 FROM sessions
        WHERE sessions.agent_source = deploys.source AND sessions.status <> 'ended'
    );

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
