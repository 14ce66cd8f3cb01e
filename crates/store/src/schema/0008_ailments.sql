-- What is wrong with the installed cloud, as long as it is. That it began and ended is on the timeline.

CREATE TABLE ailments (
    node    TEXT REFERENCES nodes (id) ON DELETE CASCADE, -- none: the cloud's
    subject TEXT NOT NULL,    -- JSON
    ailment TEXT NOT NULL,    -- JSON
    since   INTEGER NOT NULL,
    seen_at INTEGER NOT NULL, -- when this row was written last
    text    TEXT NOT NULL,    -- one sentence
    hint    TEXT,
    said    TEXT NOT NULL     -- JSON, the service's last lines
);
CREATE UNIQUE INDEX ailments_by_subject ON ailments (coalesce(node, ''), subject);
