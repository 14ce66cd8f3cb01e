-- Of an event: what it belongs to, what it came of, and how often it happened.
ALTER TABLE events ADD COLUMN deployment INTEGER;
ALTER TABLE events ADD COLUMN run INTEGER;                       -- of that deployment
ALTER TABLE events ADD COLUMN visit INTEGER;                     -- the node's, at that time
ALTER TABLE events ADD COLUMN request INTEGER;                   -- the number of the person's request
ALTER TABLE events ADD COLUMN cause TEXT;
ALTER TABLE events ADD COLUMN times INTEGER NOT NULL DEFAULT 1;  -- the same again soon is counted
CREATE INDEX events_by_deployment ON events (deployment, id) WHERE deployment IS NOT NULL;

-- Which request a node is busy with.
ALTER TABLE nodes ADD COLUMN request INTEGER;

-- Every run of a deployment, with its own times. The newest is in `deployments` as well.
CREATE TABLE deployment_runs (
    deployment INTEGER NOT NULL REFERENCES deployments (number) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    failure    TEXT,
    PRIMARY KEY (deployment, attempt)
);
INSERT INTO deployment_runs (deployment, attempt, started_at, ended_at, failure)
    SELECT number, attempt, started_at, ended_at, failure FROM deployments;
