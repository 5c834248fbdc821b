-- The id of a session's conversation, which the CLI changes at `/clear`.
-- NULL until the agent has begun a turn: the conversation then has the session's own id.
ALTER TABLE sessions ADD COLUMN conversation TEXT;

-- The message that begins a turn names it. A fork's copies of its parent's messages have no turn.
UPDATE sessions SET conversation = (
    SELECT json_extract(messages.content, '$.session_id')
    FROM messages
    WHERE
        messages.session_id = sessions.id
        AND messages.turn_id IS NOT NULL
        AND messages.role = 'assistant'
        AND CASE
            WHEN json_valid(messages.content)
            THEN json_extract(messages.content, '$.type', '$.subtype') = '["system","init"]'
        END
    ORDER BY messages.sequence DESC
    LIMIT 1
);
