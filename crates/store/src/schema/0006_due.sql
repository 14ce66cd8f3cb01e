-- When a node's next turn is due, and who gives it. Written with the version, so that nobody has to
-- look at all nodes to find those that something is to be done for.
ALTER TABLE nodes ADD COLUMN due_at INTEGER;       -- nothing: not by itself
ALTER TABLE nodes ADD COLUMN lease_owner TEXT;     -- which process gives its turns
ALTER TABLE nodes ADD COLUMN lease_until INTEGER;  -- and until when nobody else does
CREATE INDEX nodes_by_due ON nodes (due_at) WHERE due_at IS NOT NULL;

-- All of them once: the turn says when the next is.
UPDATE nodes SET due_at = 0;
