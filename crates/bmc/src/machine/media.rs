//! Images that a machine sees as a CD or a USB stick.

/// What is in a virtual drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Where the image came from: an http or https address.
    pub image: String,
    /// Whether the machine must not write to it.
    pub write_protected: bool,
}

/// A virtual drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaSlot {
    /// A CD or DVD drive.
    Cd,
    /// A USB stick.
    UsbStick,
}

impl MediaSlot {
    /// Every drive.
    pub const ALL: [Self; 2] = [Self::Cd, Self::UsbStick];
}
