-- The cloud on the machines: its secrets, and every installation of it by number.

-- Recoverable: machines are given them. The directory is 0700.
CREATE TABLE cloud_secrets (
    name       TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE deployments (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    digest       TEXT NOT NULL,       -- of the plan
    plan         TEXT NOT NULL,       -- JSON, with references in place of secrets; never changed
    created_at   INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,    -- how often it was run, from 1
    started_at   INTEGER NOT NULL,    -- of that attempt
    ended_at     INTEGER,
    failure      TEXT,                -- one sentence, if the attempt failed
    verification TEXT                 -- JSON, of the last check by a server of its own
);

CREATE TRIGGER a_plan_is_written_once BEFORE UPDATE OF plan, digest, created_at ON deployments
BEGIN
    SELECT RAISE(ABORT, 'a deployment''s plan is never changed');
END;

CREATE TABLE deployment_steps (
    deployment INTEGER NOT NULL REFERENCES deployments (number),
    attempt    INTEGER NOT NULL,
    key        TEXT NOT NULL,
    ended_at   INTEGER NOT NULL,
    outcome    TEXT NOT NULL,         -- JSON, as the agent reported it
    PRIMARY KEY (deployment, attempt, key)
);
