//! The system event log (section 31).

use std::time::Duration;

use super::{Client, ClientError, dialogue::Twice};
use crate::ipmi::{
    completion::Completion,
    msg::{clear_sel, get_sel_entry, get_sel_info, reserve_sel, set_sel_time},
    record::sel::Event,
    wire::Command as _,
};

const FIRST: u16 = 0;
const END: u16 = 0xffff;
/// Readings that are begun anew because somebody else changed the log meanwhile.
const LOST_MAX: u32 = 4;
/// Clear SEL: begin, and ask how far it is.
const BEGIN: u8 = 0xaa;
const ASK: u8 = 0x00;
const ERASED: u8 = 1;
/// Between two questions how far it is. A controller announces the end to nobody: it is asked (IPMI
/// 2.0, section 31.9), and slows down when it is asked without a pause.
const ERASURE_PAUSE: Duration = Duration::from_millis(500);
/// A log that is not erased by then never will be.
const ERASURE_QUESTIONS_MAX: u32 = 60;

impl Client {
    /// How full the log is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn event_log_info(&mut self) -> Result<get_sel_info::Response, ClientError> {
        self.call(&get_sel_info::Request, Twice::Harmless).await
    }

    /// Every event, oldest first. A log that is changed by somebody else meanwhile is read anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&mut self) -> Result<Vec<Event>, ClientError> {
        let mut lost = 0;
        loop {
            match self.read_events().await {
                Err(ClientError::Completion { code: Completion::RESERVATION_INVALID, .. })
                    if lost < LOST_MAX =>
                {
                    lost += 1;
                }
                other => return other,
            }
        }
    }

    /// Several controllers have no reservations for the log: then none is shown.
    async fn reserve_events(&mut self) -> Result<u16, ClientError> {
        match self.call(&reserve_sel::Request, Twice::Harmless).await {
            Ok(answer) => Ok(answer.reservation),
            Err(ClientError::Completion { code: Completion::INVALID_COMMAND, .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn read_events(&mut self) -> Result<Vec<Event>, ClientError> {
        let reservation = self.reserve_events().await?;
        let (mut events, mut record) = (Vec::new(), FIRST);
        // More than there are numbers: the records follow each other in a circle.
        while record != END && events.len() < usize::from(END) {
            let request = get_sel_entry::Request { reservation, record, offset: 0, count: 0xff };
            let answer = match self.call(&request, Twice::Harmless).await {
                Err(ClientError::Completion { code: Completion::NOT_PRESENT, .. })
                    if record == FIRST =>
                {
                    break;
                }
                other => other?,
            };
            let event = Event::decode(&answer.record).map_err(|source| ClientError::Malformed {
                address: self.address(),
                operation: get_sel_entry::Request::NAME,
                source,
            })?;
            events.push(event);
            record = if answer.next == record { END } else { answer.next };
        }
        Ok(events)
    }

    /// Removes every event, and waits until they are gone.
    ///
    /// # Errors
    /// [`ClientError`]; of kind `Unknown` when the controller does not say that it is done.
    pub async fn clear_events(&mut self) -> Result<(), ClientError> {
        let reservation = self.reserve_events().await?;
        let letters = *b"CLR";
        let request = |action| clear_sel::Request { reservation, letters, action };
        let mut answer = self.call(&request(BEGIN), Twice::Harmless).await?;
        for _ in 0..ERASURE_QUESTIONS_MAX {
            if answer.progress & 0x0f == ERASED {
                return Ok(());
            }
            tokio::time::sleep(ERASURE_PAUSE).await;
            answer = self.call(&request(ASK), Twice::Harmless).await?;
        }
        let (address, command) = (self.address(), clear_sel::Request::NAME);
        Err(ClientError::OutcomeUnknown { address, command })
    }

    /// Sets the controller's clock, in seconds since 1970.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_clock(&mut self, time: u32) -> Result<(), ClientError> {
        self.call(&set_sel_time::Request { time }, Twice::Harmless).await.map(drop)
    }
}
