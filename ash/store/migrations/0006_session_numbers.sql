-- The order in which sessions were made. Times don't tell: a clock can be set back.

ALTER TABLE sessions ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET number = made.number
FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number FROM sessions) AS made
WHERE made.id = sessions.id;
CREATE UNIQUE INDEX sessions_by_number ON sessions (number);

-- The last two let a filtered list and its total be read from the index alone.
DROP INDEX sessions_newest;
CREATE INDEX sessions_newest ON sessions (tenant_id, number, agent_name, status);
