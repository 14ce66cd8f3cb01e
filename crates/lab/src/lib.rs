//! Virtual machines and their networks on this host.
