//! All SQL: nodes, events, intents.
