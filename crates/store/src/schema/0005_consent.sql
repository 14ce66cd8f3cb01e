-- A person's word that a disk may be erased. Each is checked in the transaction that gives an agent
-- an order which erases.
CREATE TABLE disk_approvals (
    id      INTEGER PRIMARY KEY,
    node    TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    disk    TEXT NOT NULL,            -- JSON: by what it is known in another boot
    content TEXT,                     -- JSON: what was seen on it; nothing once what is on it is ours
    plan    TEXT NOT NULL,            -- digest of what the person saw
    by_whom TEXT NOT NULL,
    at_ms   INTEGER NOT NULL
);
CREATE INDEX disk_approvals_by_node ON disk_approvals (node);

-- What was written before anybody was asked is ours.
INSERT INTO disk_approvals (node, disk, plan, by_whom, at_ms)
SELECT id, json_extract(record, '$.instance.written.disk'),
    json_extract(record, '$.instance.written.disk_digest'), 'an earlier version', updated_at
FROM nodes WHERE json_extract(record, '$.instance.written.disk') IS NOT NULL;
