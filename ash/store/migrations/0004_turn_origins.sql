-- Turns that nobody has asked for.

-- What has begun the turn: `task` if a task in the background has ended, NULL if a message has.
ALTER TABLE turns ADD COLUMN origin TEXT;
