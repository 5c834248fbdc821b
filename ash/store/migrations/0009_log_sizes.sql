-- How many bytes a session's log has had up to and including each line: the oldest are deleted.
ALTER TABLE logs ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
