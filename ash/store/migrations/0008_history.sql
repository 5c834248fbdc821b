-- One history for each session, instead of tables for turns, messages and timeline events.

-- The rows of a session lie side by side: a key is the session's number times 2^32, plus 1, 2, 3 …
-- Counters are those up to and including the row, so each row is found by any of them (queries
-- that begin with `search`), and a row is written without an index.
CREATE TABLE history (
    key INTEGER NOT NULL PRIMARY KEY,
    -- begin: of a turn, with the user's message if there was one. message: of the agent.
    -- copy: a message of the session that this one was forked from. event: of the timeline alone.
    -- end: of a turn, with the error if there was one.
    kind TEXT NOT NULL,
    -- Of a begin the version of ash, of a copy the role, of an event the type, of an end the reason.
    label TEXT,
    -- What has begun the turn: `task` if a task in the background has ended, NULL if a message has.
    origin TEXT,
    -- The key of the turn's begin, as long as it has not ended.
    turn INTEGER,
    -- The last frame that was made of the row or of one before.
    frame INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    events INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    -- Of a row that an older ash has made. The id of any other is derived from its number.
    id TEXT,
    -- Last, so that no other column lies behind megabytes.
    content TEXT
);

-- The turns that have not ended. A crash leaves them here.
CREATE TABLE open_turns (turn INTEGER NOT NULL PRIMARY KEY);

-- What there was of each session, in an order in which no counter falls: timeline events first,
-- then the copies of a fork, then the frames in their order.
CREATE TEMPORARY TABLE old_rows AS
SELECT
    sessions.number,
    row_number() OVER (PARTITION BY sessions.number ORDER BY old.part, old.frame, old.number) AS at,
    old.*
FROM (
    SELECT
        session_id, 1 AS part, 0 AS frame, sequence AS number, 'event' AS kind, type AS label,
        data AS content, NULL AS origin, 0 AS message, sequence AS event, created_at, id
    FROM events
    UNION ALL
    SELECT
        session_id, 2, 0, sequence, 'copy', role, content, NULL, sequence, 0, created_at, id
    FROM messages
    WHERE turn_id IS NULL
    UNION ALL
    SELECT
        session_id, 3, coalesce(frame, 0), sequence, 'message', NULL, content, NULL, sequence, 0,
        created_at, id
    FROM messages
    WHERE turn_id IS NOT NULL AND role = 'assistant'
    UNION ALL
    SELECT
        turns.session_id, 3, turns.start_frame, 0, 'begin', turns.version, said.content,
        turns.origin, coalesce(said.sequence, 0), 0, turns.created_at, said.id
    FROM turns
    LEFT JOIN messages AS said
        ON said.session_id = turns.session_id AND said.turn_id = turns.id AND said.role = 'user'
    UNION ALL
    SELECT
        session_id, 3, end_frame, 0, 'end', reason, error, NULL, 0, 0, ended_at, NULL
    FROM turns
    WHERE reason IS NOT NULL
) AS old
INNER JOIN sessions ON sessions.id = old.session_id;

INSERT INTO history (
    key, kind, label, content, origin, turn, frame, messages, events, created_at, id
)
SELECT
    (number << 32) + at,
    kind,
    label,
    content,
    origin,
    CASE WHEN begun > ended THEN (number << 32) + begun END,
    frame,
    messages,
    events,
    created_at,
    id
FROM (
    SELECT
        old_rows.number AS number, at, kind, label, content, origin, created_at, id,
        max(frame) OVER upto AS frame,
        max(message) OVER upto AS messages,
        max(event) OVER upto AS events,
        max(CASE WHEN kind = 'begin' THEN at ELSE 0 END) OVER upto AS begun,
        max(CASE WHEN kind = 'end' THEN at ELSE 0 END) OVER upto AS ended
    FROM old_rows
    WINDOW upto AS (PARTITION BY old_rows.number ORDER BY at)
) AS counted;

DROP TABLE old_rows;

INSERT INTO open_turns (turn)
SELECT turn FROM history
WHERE
    turn IS NOT NULL
    AND key = (
        SELECT max(later.key) FROM history AS later
        WHERE later.key > (history.key >> 32) << 32 AND later.key < ((history.key >> 32) + 1) << 32
    );

DROP TABLE events;
DROP TABLE messages;
DROP TABLE turns;

-- For people who look into the database.
CREATE VIEW messages AS
SELECT
    sessions.id AS session_id,
    history.messages AS sequence,
    CASE history.kind
        WHEN 'begin' THEN 'user' WHEN 'message' THEN 'assistant' ELSE history.label
    END AS role,
    history.content,
    CASE WHEN history.kind = 'message' THEN history.frame END AS frame,
    history.created_at
FROM sessions
INNER JOIN history
    ON history.key > sessions.number << 32 AND history.key < (sessions.number + 1) << 32
WHERE history.kind IN ('begin', 'message', 'copy') AND history.content IS NOT NULL;

CREATE VIEW turns AS
SELECT
    sessions.id AS session_id,
    begun.frame AS start_frame,
    ended.frame AS end_frame,
    CASE WHEN ended.content IS NOT NULL THEN ended.frame - 1 END AS error_frame,
    ended.label AS reason,
    ended.content AS error,
    begun.created_at,
    ended.created_at AS ended_at
FROM sessions
INNER JOIN history AS begun
    ON begun.key > sessions.number << 32 AND begun.key < (sessions.number + 1) << 32
LEFT JOIN history AS ended
    ON ended.key = (
        SELECT min(later.key) FROM history AS later
        WHERE
            later.key > begun.key
            AND later.key < (sessions.number + 1) << 32
            AND later.kind = 'end'
    )
WHERE begun.kind = 'begin';

-- A session was active when its row was changed last, or when its history was.
CREATE VIEW sessions_with_activity AS
SELECT
    sessions.*,
    coalesce(last.created_at, sessions.last_active_at) AS last_written_at
FROM sessions
LEFT JOIN history AS last
    ON last.key = (
        SELECT max(key) FROM history
        WHERE key > sessions.number << 32 AND key < (sessions.number + 1) << 32
    );
