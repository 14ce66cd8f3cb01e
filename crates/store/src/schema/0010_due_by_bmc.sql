-- Who is due is asked of those whose BMC was heard and of the others apart, after every write: each
-- question finds its own at once, in the order that they are given in, however many the others are.
DROP INDEX nodes_by_due;
CREATE INDEX nodes_by_due ON nodes (power IS NULL, due_at, id) WHERE due_at IS NOT NULL;
