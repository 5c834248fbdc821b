-- What is remembered of sandboxes across restarts: the live part is in memory.
CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE INDEX sandboxes_by_state ON sandboxes (owner, state);
