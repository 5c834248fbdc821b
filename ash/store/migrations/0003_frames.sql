-- Frames by their id: what a client that comes back to a stream has missed.

-- Which ash said `session_start`: a replay says what was said then.
ALTER TABLE turns ADD COLUMN version TEXT;

CREATE INDEX turns_by_start ON turns (session_id, start_frame);
CREATE INDEX turns_by_error ON turns (session_id, error_frame) WHERE error_frame IS NOT NULL;
CREATE INDEX turns_by_end ON turns (session_id, end_frame) WHERE end_frame IS NOT NULL;
CREATE INDEX messages_by_frame ON messages (session_id, frame) WHERE frame IS NOT NULL;
