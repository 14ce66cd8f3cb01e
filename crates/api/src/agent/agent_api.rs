//! What the agents' routes ask the rest of the daemon.

use std::future::Future;

use undercloud_model::{
    Digest, NodeId, Secret,
    agent::{Hello, Poll, PollReply, Progress, Report, Welcome},
};

use crate::{ApiError, serve::Peer};

/// An agent that calls, and has proven of which machine it is. Who asks for a change of the
/// administrator's is a [`undercloud_model::Caller`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallingAgent {
    /// Which node.
    pub node: NodeId,
    /// What runs there.
    pub session: Session,
}

/// From where an agent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The ramdisk, with the key of this boot.
    Ramdisk,
    /// The installed system, with the machine's key.
    Installed,
}

/// Answers the agents; implemented by the binary over store and engine. Every method may be called
/// again with the same argument: agents repeat what was not answered.
pub trait AgentApi: Send + Sync + 'static {
    /// Exchanges a boot secret for a session key. A secret that is wrong, used or outside its
    /// window is `Denied`; what that means for the node is the implementation's business.
    fn hello(
        &self,
        hello: Hello,
        from: Peer,
    ) -> impl Future<Output = Result<Welcome, ApiError>> + Send;

    /// Whose key this is, if it is anybody's now.
    fn authenticate(
        &self,
        key: &Secret,
    ) -> impl Future<Output = Result<Option<CallingAgent>, ApiError>> + Send;

    /// A heartbeat, answered with the machine's order when there is one, or after at most 20 s.
    fn poll(
        &self,
        caller: CallingAgent,
        poll: Poll,
    ) -> impl Future<Output = Result<PollReply, ApiError>> + Send;

    /// A machine that was let in called in a version of the protocol that is not understood. It is
    /// told so; somebody has to hear of it here, too.
    fn not_understood(&self, caller: CallingAgent, theirs: u32) -> impl Future<Output = ()> + Send;

    /// How far a step is.
    fn progress(
        &self,
        caller: CallingAgent,
        progress: Progress,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// How a step ended. Durable when this returns.
    fn report(
        &self,
        caller: CallingAgent,
        report: Report,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Whether the caller's current order names this blob.
    fn may_fetch(
        &self,
        caller: CallingAgent,
        blob: Digest,
    ) -> impl Future<Output = Result<bool, ApiError>> + Send;
}
