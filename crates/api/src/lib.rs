//! HTTP: the agent's API, the administrator's API, OpenStack subsets.
