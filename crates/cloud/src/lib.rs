//! OpenStack on the machines: roles, services, plan, rollout.
