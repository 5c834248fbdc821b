-- Each deploy of an agent, as long as a session was made from it: what the agent was then.

CREATE TABLE deploys (
    source TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    path TEXT NOT NULL,
    env TEXT NOT NULL,
    description TEXT,
    model TEXT,
    config TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX deploys_by_name ON deploys (tenant_id, name);

INSERT INTO deploys (
    source, id, tenant_id, name, version, path, env, description, model, config,
    created_at, updated_at
)
SELECT
    source, id, tenant_id, name, version, path, env, description, model, config,
    created_at, updated_at
FROM agents;

-- NULL if the deploy is not known, as that of an older session or of another server.
ALTER TABLE sessions ADD COLUMN agent_source TEXT;
CREATE INDEX sessions_by_source ON sessions (agent_source);

UPDATE sessions SET agent_source = (
    SELECT agents.source FROM agents
    WHERE
        agents.tenant_id = sessions.tenant_id
        AND agents.name = sessions.agent_name
        AND agents.version = sessions.agent_version
);
