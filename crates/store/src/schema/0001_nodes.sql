-- Nodes, what is to be done for them, and what happened. Times are UTC milliseconds.

CREATE TABLE nodes (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    version       INTEGER NOT NULL,   -- counts writes; a write that expected another is refused
    visit         INTEGER NOT NULL,   -- counts transitions
    state         TEXT NOT NULL,
    target        TEXT,
    state_since   INTEGER NOT NULL,
    phase         TEXT NOT NULL,      -- JSON
    deadline      INTEGER,
    power         TEXT,               -- observed
    power_seen_at INTEGER,
    target_power  TEXT,               -- wanted
    maintenance   TEXT,               -- JSON
    record        TEXT NOT NULL,      -- JSON: everything that no query looks into
    bmc_password  TEXT NOT NULL,      -- recoverable: the BMC wants it
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);

CREATE TABLE ports (
    mac      TEXT PRIMARY KEY,
    node     TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,        -- 0 is the one that it boots from
    address  TEXT NOT NULL UNIQUE     -- with prefix
);
CREATE INDEX ports_by_node ON ports (node, position);

-- The timeline. It outlives the node, so no reference.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    node     TEXT,
    at_ms    INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    severity TEXT NOT NULL,
    text     TEXT NOT NULL,
    data     TEXT                     -- JSON
);
CREATE INDEX events_by_node ON events (node, id);

-- What happened to a node and no turn has looked at: requests, agents' calls.
CREATE TABLE inbox (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    node  TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    event TEXT NOT NULL               -- JSON
);
CREATE INDEX inbox_by_node ON inbox (node, id);

-- What a turn decided to do and is not done.
CREATE TABLE actions (
    node     TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    key      TEXT NOT NULL,
    action   TEXT NOT NULL,           -- JSON
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (node, position),
    UNIQUE (node, key)
);

-- Each is opened by a power-on of ours. The secret is kept until it is used, since a firmware may
-- fetch it more than once; then only its hash stays.
CREATE TABLE boot_windows (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    node        TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    opened_at   INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    closed_at   INTEGER,
    token       TEXT NOT NULL,
    secret      TEXT,
    secret_hash TEXT NOT NULL UNIQUE,
    used_at     INTEGER,
    boot_hash   TEXT,                 -- of the boot id that used it
    progress    TEXT NOT NULL
);
CREATE INDEX boot_windows_by_node ON boot_windows (node, id);

-- The one ramdisk of a node that may call.
CREATE TABLE agent_sessions (
    node      TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    key_hash  TEXT NOT NULL UNIQUE,
    opened_at INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL
);

-- The installed systems' keys.
CREATE TABLE machine_keys (
    key_hash   TEXT PRIMARY KEY,
    node       TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    seen_at    INTEGER,
    boot_id    TEXT
);
CREATE INDEX machine_keys_by_node ON machine_keys (node);

-- What agents are to do. The body may hold a machine's key, so it goes when the report comes.
CREATE TABLE orders (
    id           TEXT PRIMARY KEY,
    node         TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    agent        TEXT NOT NULL,       -- ramdisk | installed
    key          TEXT NOT NULL,       -- the same key is the same order
    name         TEXT NOT NULL,
    body         TEXT,                -- JSON
    blob         TEXT,                -- what it may fetch
    created_at   INTEGER NOT NULL,
    withdrawn_at INTEGER,
    reported_at  INTEGER,
    outcome      TEXT,                -- JSON
    done_bytes   INTEGER,
    total_bytes  INTEGER,
    UNIQUE (node, key)
);
CREATE INDEX orders_by_node ON orders (node, created_at);

CREATE TABLE images (
    name       TEXT PRIMARY KEY,
    digest     TEXT NOT NULL,
    record     TEXT NOT NULL,         -- JSON, the image crate's
    updated_at INTEGER NOT NULL
);

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL               -- JSON
);
