//! The users, over the table that every session layer shares (sections 22.26 to 22.30).

use super::{Answer, Controller, is_lan, read, reply};
use crate::{
    accounts::{Account, AccountsError, SLOT_FIRST, SLOTS_MAX},
    credentials::{PASSWORD_BYTES_MAX, Password},
    ipmi::{
        completion::Completion,
        msg::{
            get_payload_access, get_user_access, get_user_name, set_user_access, set_user_name,
            set_user_password,
        },
        server::PASSWORD_BYTES_MIN,
        session::{Reply, Request},
        wire::Command,
    },
    privilege::Privilege,
};

/// Set User Password: the password is another (section 22.30).
const TEST_FAILED: Completion = Completion(0x80);
const PASSWORD_BYTES_V15: usize = 16;
/// "No access" as a level.
const NO_ACCESS: u8 = 0x0f;
/// Standard payload 1: Serial over LAN.
const PAYLOAD_SOL: u8 = 0x02;

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

fn slot_of(byte: u8) -> Answer<u8> {
    let slot = byte & 0x3f;
    (1..=SLOTS_MAX).contains(&slot).then_some(slot).ok_or(Completion::PARAMETER_OUT_OF_RANGE)
}

impl Controller {
    pub(super) fn answer_users(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_user_access::Request::CODE => reply(self.user_access(&read(data)?)?),
            set_user_access::Request::CODE => reply(self.set_user_access(&read(data)?)?),
            get_user_name::Request::CODE => {
                let request: get_user_name::Request = read(data)?;
                let account = self.accounts.slot(slot_of(request.user)?);
                let mut name = [0; 16];
                for (to, from) in name.iter_mut().zip(account.iter().flat_map(|it| it.name.bytes()))
                {
                    *to = from;
                }
                reply(get_user_name::Response { name })
            }
            set_user_name::Request::CODE => reply(self.set_user_name(&read(data)?)?),
            set_user_password::Request::CODE => reply(self.set_user_password(&read(data)?)?),
            get_payload_access::Request::CODE => {
                let request: get_payload_access::Request = read(data)?;
                let slot = lan_slot(request.channel, request.user)?;
                let may = self.accounts.slot(slot).is_some_and(|it| it.enabled);
                let payloads = [if may { PAYLOAD_SOL } else { 0 }, 0, 0, 0];
                reply(get_payload_access::Response { payloads })
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    fn user_access(&self, request: &get_user_access::Request) -> Answer<get_user_access::Response> {
        let slot = lan_slot(request.channel, request.user)?;
        let table = self.accounts.table();
        let count = table.values().filter(|account| account.enabled).count();
        let account = table.get(&slot);
        let enabled = account.is_some_and(|account| account.enabled);
        let privilege = account.map_or(NO_ACCESS, |account| account.privilege.bits());
        Ok(get_user_access::Response {
            users_max: SLOTS_MAX,
            enabled: u8::try_from(count).unwrap_or(0x3f) | if enabled { 0x40 } else { 0x80 },
            // The user without a name, whom nobody names.
            fixed: SLOT_FIRST - 1,
            // Messaging is a user's by being one; whether it may be used is "enabled".
            access: privilege | if account.is_some() { 0x10 } else { 0 },
        })
    }

    fn set_user_access(
        &self,
        request: &set_user_access::Request,
    ) -> Answer<set_user_access::Response> {
        let slot = lan_slot(request.channel, request.user)?;
        let level = Privilege::from_bits(request.privilege & 0x0f);
        let privilege = level.ok_or(Completion::INVALID_FIELD)?;
        // Call-back and links are not there, and messaging cannot be taken away alone.
        if request.channel & 0x80 != 0 && request.channel & 0x70 != 0x10 {
            return Err(Completion::INVALID_FIELD);
        }
        if request.limit.iter().any(|limit| *limit != 0) || request.limit.len() > 1 {
            return Err(Completion::INVALID_FIELD);
        }
        self.change_user(slot, |account| Account { privilege, ..account })?;
        Ok(set_user_access::Response)
    }

    fn set_user_name(&self, request: &set_user_name::Request) -> Answer<set_user_name::Response> {
        let slot = slot_of(request.user)?;
        let name = std::str::from_utf8(trimmed(&request.name));
        let name = name.map_err(|_| Completion::INVALID_FIELD)?.to_owned();
        let named = |account: Option<Account>| {
            let fresh = Account {
                name: String::new(),
                password: None,
                privilege: Privilege::User,
                enabled: false,
            };
            let account = account.unwrap_or(fresh);
            // A user without a name is no user: the slot is free again.
            (!name.is_empty()).then_some(Account { name, ..account })
        };
        self.accounts.change(slot, named).map_err(refusal)?;
        Ok(set_user_name::Response)
    }

    fn set_user_password(
        &self,
        request: &set_user_password::Request,
    ) -> Answer<set_user_password::Response> {
        let slot = slot_of(request.user)?;
        let long = request.user & 0x80 != 0;
        let size = if long { PASSWORD_BYTES_MAX } else { PASSWORD_BYTES_V15 };
        let sized = request.password.len() == size;
        let password = trimmed(&request.password);
        match request.operation & 0x03 {
            0 | 1 if !(request.password.is_empty() || sized) => Err(Completion::LENGTH_INVALID),
            0 => self.change_user(slot, |account| Account { enabled: false, ..account }),
            1 => self.change_user(slot, |account| Account { enabled: true, ..account }),
            _ if !sized => Err(Completion::LENGTH_INVALID),
            // A short one would not survive guessing: nobody gets one.
            2 if password.len() < PASSWORD_BYTES_MIN => Err(Completion::INVALID_FIELD),
            2 => {
                let password = Password::new(password).map_err(|_| Completion::INVALID_FIELD)?;
                let password = Some(password);
                self.change_user(slot, |account| Account { password, ..account })
            }
            _ => {
                let account = self.accounts.slot(slot).ok_or(Completion::NOT_PRESENT)?;
                let right = account.password.is_some_and(|kept| kept.is(password));
                right.then_some(()).ok_or(TEST_FAILED)
            }
        }?;
        Ok(set_user_password::Response)
    }

    /// Changes a user that there is.
    fn change_user(&self, slot: u8, change: impl FnOnce(Account) -> Account) -> Answer<()> {
        if self.accounts.slot(slot).is_none() {
            return Err(Completion::NOT_PRESENT);
        }
        self.accounts.change(slot, |account| account.map(change)).map_err(refusal)
    }
}

fn lan_slot(channel: u8, user: u8) -> Answer<u8> {
    if !is_lan(channel & 0x0f) {
        return Err(Completion::INVALID_FIELD);
    }
    slot_of(user)
}

fn refusal(error: AccountsError) -> Completion {
    match error {
        AccountsError::Slot { .. } | AccountsError::NameTaken { .. } => Completion::INVALID_FIELD,
        AccountsError::LastAdministrator => Completion::WRONG_STATE,
    }
}
