-- Agents, sessions with their history and logs, and the keys that open them.
-- Times are ISO 8601 text in UTC, which sorts as it reads; JSON is kept as text.

CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    path TEXT NOT NULL,
    source TEXT NOT NULL,
    env TEXT NOT NULL,
    description TEXT,
    model TEXT,
    config TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    sandbox_id TEXT NOT NULL,
    status TEXT NOT NULL,
    runner_id TEXT,
    parent_session_id TEXT,
    model TEXT,
    config TEXT,
    settings TEXT NOT NULL,
    owner TEXT NOT NULL,
    generation INTEGER NOT NULL,
    next_frame INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    last_active_at TEXT NOT NULL
);
-- The last two let a filtered list and its total be read from the index alone.
CREATE INDEX sessions_newest ON sessions (tenant_id, created_at, id, agent_name, status);
CREATE INDEX sessions_by_status ON sessions (status, owner);

CREATE TABLE turns (
    id TEXT NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    start_frame INTEGER NOT NULL,
    end_frame INTEGER,
    error_frame INTEGER,
    reason TEXT,
    error TEXT,
    created_at TEXT NOT NULL,
    ended_at TEXT
);
CREATE INDEX turns_open ON turns (session_id, start_frame) WHERE reason IS NULL;

CREATE TABLE messages (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    turn_id TEXT REFERENCES turns (id),
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    frame INTEGER,
    created_at TEXT NOT NULL,
    PRIMARY KEY (session_id, sequence)
);

CREATE TABLE events (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (session_id, sequence)
);

CREATE TABLE logs (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    line INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (session_id, line)
);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    label TEXT,
    key_prefix TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    created_at TEXT NOT NULL
);
