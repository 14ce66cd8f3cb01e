//! The nouns of undercloud: ids, states, plans, the agent's protocol. Pure.
