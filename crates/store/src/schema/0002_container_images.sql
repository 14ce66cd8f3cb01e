-- Container images. A generation is what one build registered, and the last one is what tags name.
-- The one before stays: a rollout may be under way that pulls it by digest.

CREATE TABLE container_images (
    name       TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    generation INTEGER NOT NULL,
    record     TEXT NOT NULL,         -- JSON, the image crate's
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (name, manifest)
);
