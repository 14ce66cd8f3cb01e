-- Installations of the cloud, from enrolled machines to a verified cloud: what was asked for, and where it is.

CREATE TABLE installations (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    schema   INTEGER NOT NULL, -- of the body: one of another is in nobody's way
    version  INTEGER NOT NULL, -- counts the writes
    state    TEXT NOT NULL,
    body     TEXT NOT NULL,    -- JSON
    since    INTEGER NOT NULL, -- of that state
    deadline INTEGER,          -- of that state
    ended_at INTEGER
);
-- One is under way at most.
CREATE UNIQUE INDEX installations_open ON installations (coalesce(ended_at, 0))
    WHERE ended_at IS NULL;
