//! The server half: one HTTPS listener for every machine of a process.
//!
//! **Who sees what.** Each machine has users of its own, the same as on its IPMI port
//! ([`crate::accounts`]). A login is a name and a password; it opens every machine of which an
//! enabled user has exactly these, and no other: the rest of the tree answers 404, as if it were
//! not there. Names may repeat among machines, since passwords tell them apart. Users of the
//! *site*, if there are any, see every machine. Rights follow the IPMI privilege: administrator,
//! operator, and user (read-only); callback logs in nowhere.
//!
//! **Layers.** `connection` moves bytes, [`service`] turns one request into one answer and knows
//! no socket, `route` is the table of resources, and each file of `resource` is one of them.
//!
//! ```text
//!  listener ─▶ TLS ─▶ HTTP/1.1 ─▶ Service::answer ─▶ route ─▶ login ─▶ resource ─▶ query ─▶ reply
//! ```

mod connection;
mod events;
mod listen;
mod login;
mod message;
mod patch;
mod query;
mod reply;
mod resource;
mod route;
mod schema;
pub mod service;
mod sessions;
mod site;
mod tasks;
pub mod tls;

pub use self::{
    listen::{Renewed, Server, ServerError, ServerHandle, Transport},
    reply::ReplyBody,
    site::{Entry, Site, SiteError},
};
