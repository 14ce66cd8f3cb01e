//! Users and roles.
//!
//! An account's id is `MACHINE.SLOT`, or `@site.SLOT` for a user of the site. A new account goes
//! where its maker is at home: into the site's table for an administrator of the site, into the
//! machine's for one of a machine. Whoever administers several machines by one login has no such
//! place, and is refused.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        login::{Principal, Role},
        message::{self, Message, Refusal},
        patch::Body,
        reply::Reply,
        route::{Answer, Context, Handler, Needs, Route},
    },
    collection, enabled, link, resource,
};
use crate::{
    accounts::{Account, Accounts, AccountsError, SLOT_FIRST, SLOTS_MAX},
    credentials::{Credentials, PASSWORD_BYTES_MAX, Password},
    ipmi::server::PASSWORD_BYTES_MIN,
};

const SERVICE: &str = "/redfish/v1/AccountService";
const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";
const ROLES: &str = "/redfish/v1/AccountService/Roles";
/// What stands for the site in an account's id; no machine has a name with this sign.
const SITE: &str = "@site";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SERVICE, show),
    Route::new(ACCOUNTS, list).post(Needs::Role(Role::Administrator), Handler::Now(create)),
    Route::new("/redfish/v1/AccountService/Accounts/{}", account)
        .patch(Needs::Role(Role::ReadOnly), Handler::Now(change))
        .delete(Needs::Role(Role::Administrator), Handler::Now(delete)),
    Route::new(ROLES, roles),
    Route::new("/redfish/v1/AccountService/Roles/{}", role),
];

fn show(_: &Context<'_>) -> Answer {
    let name = "Accounts";
    Ok(Reply::Resource(resource(
        "AccountService",
        SERVICE,
        "AccountService",
        name,
        json!({
            "ServiceEnabled": true,
            "MinPasswordLength": PASSWORD_BYTES_MIN,
            "MaxPasswordLength": PASSWORD_BYTES_MAX,
            "HTTPBasicAuth": "Enabled",
            "Accounts": link(ACCOUNTS),
            "Roles": link(ROLES),
            "Status": enabled(),
        }),
    )))
}

fn roles(_: &Context<'_>) -> Answer {
    let members: Vec<String> =
        Role::ALL.iter().map(|(name, _)| format!("{ROLES}/{name}")).collect();
    Ok(Reply::Resource(collection("RoleCollection", ROLES, "Roles", &members)))
}

fn role(context: &Context<'_>) -> Answer {
    let found = Role::ALL.into_iter().find(|(name, _)| *name == context.argument(0));
    let (name, role) = found.ok_or_else(|| context.missing())?;
    Ok(Reply::Resource(resource(
        "Role",
        &format!("{ROLES}/{name}"),
        name,
        name,
        json!({
            "RoleId": name,
            "IsPredefined": true,
            "AssignedPrivileges": role.privileges(),
        }),
    )))
}

/// One user of one table.
struct Place {
    /// `None`: the site's table.
    owner: Option<String>,
    accounts: Accounts,
    slot: u8,
}

impl Place {
    fn id(&self) -> String {
        format!("{}.{}", self.owner.as_deref().unwrap_or(SITE), self.slot)
    }

    fn path(&self) -> String {
        format!("{ACCOUNTS}/{}", self.id())
    }

    fn is_own(&self, who: &Principal) -> bool {
        who.is_slot(self.owner.as_deref(), self.slot)
    }
}

/// The tables that the caller administers.
fn tables(context: &Context<'_>) -> Result<Vec<(Option<String>, Accounts)>, Refusal> {
    let who = context.who()?;
    let site = &context.service.site;
    let mut tables = Vec::new();
    let of_site = |grant: &&super::super::login::Grant| grant.unit.is_none();
    let at_site = who.grants.iter().filter(of_site).map(|grant| grant.role).max();
    if let (Some(Role::Administrator), Some(accounts)) = (at_site, &site.accounts) {
        tables.push((None, accounts.clone()));
    }
    for unit in who.units(site) {
        if who.role_at(&unit) == Some(Role::Administrator) {
            tables.push((Some(unit.id.clone()), unit.accounts.clone()));
        }
    }
    Ok(tables)
}

/// The users that the caller may see: all of the tables it administers, and itself.
fn places(context: &Context<'_>) -> Result<Vec<Place>, Refusal> {
    let who = context.who()?;
    let mut places = Vec::new();
    for (owner, accounts) in tables(context)? {
        for (slot, account) in accounts.table() {
            if !account.name.is_empty() {
                places.push(Place { owner: owner.clone(), accounts: accounts.clone(), slot });
            }
        }
    }
    for grant in &who.grants {
        let owner = grant.unit.as_ref().map(|unit| unit.id.clone());
        let accounts = grant.unit.as_ref().map(|unit| unit.accounts.clone());
        let accounts = accounts.or_else(|| context.service.site.accounts.clone());
        let listed = places.iter().any(|p| p.owner == owner && p.slot == grant.slot);
        if let (Some(accounts), false) = (accounts, listed) {
            places.push(Place { owner, accounts, slot: grant.slot });
        }
    }
    Ok(places)
}

fn list(context: &Context<'_>) -> Answer {
    let members: Vec<String> = places(context)?.iter().map(Place::path).collect();
    Ok(Reply::Resource(collection("ManagerAccountCollection", ACCOUNTS, "Accounts", &members)))
}

fn find(context: &Context<'_>) -> Result<(Place, Account), Refusal> {
    let id = context.argument(0);
    let place = places(context)?.into_iter().find(|place| place.id() == id);
    let place = place.ok_or_else(|| context.missing())?;
    let account = place.accounts.slot(place.slot).ok_or_else(|| context.missing())?;
    Ok((place, account))
}

fn body_of(place: &Place, account: &Account) -> Value {
    let role = Role::of(account.privilege);
    let mut body = resource(
        "ManagerAccount",
        &place.path(),
        &place.id(),
        "Account",
        json!({
            "UserName": account.name,
            "Password": Value::Null,
            "Enabled": account.enabled,
            "Locked": false,
            "AccountTypes": ["Redfish"],
            "RoleId": role.map_or("", Role::name),
        }),
    );
    if let Some(role) = role {
        body["Links"] = json!({ "Role": link(&format!("{ROLES}/{}", role.name())) });
    }
    body
}

fn account(context: &Context<'_>) -> Answer {
    let (place, account) = find(context)?;
    Ok(Reply::Resource(body_of(&place, &account)))
}

/// What a body says of an account.
struct Wanted {
    name: Option<String>,
    password: Option<Password>,
    role: Option<Role>,
    enabled: Option<bool>,
}

fn parse(context: &Context<'_>, whole: &Value) -> Result<Wanted, Refusal> {
    let mut body = Body::of_resource(context.body);
    let name = body.text("UserName")?;
    let password = body.text("Password")?;
    let role = body.choice("RoleId", &Role::ALL)?;
    let enabled = body.truth("Enabled")?;
    body.finish(whole)?;
    // The other half only has to be valid.
    if let Some(name) = name
        && Credentials::new(name, "x").is_err()
    {
        return Err(body.bad_format("UserName", name));
    }
    let password = match password {
        Some(text) if text.len() < PASSWORD_BYTES_MIN => {
            return Err(body.bad_format("Password", "(too short)"));
        }
        Some(text) => match Credentials::new("x", text) {
            Ok(credentials) => Some(credentials.password().clone()),
            Err(_) => return Err(body.bad_format("Password", "(too long)")),
        },
        None => None,
    };
    Ok(Wanted { name: name.map(str::to_owned), password, role, enabled })
}

fn refused(error: AccountsError, name: &str) -> Refusal {
    match error {
        AccountsError::NameTaken { .. } => {
            let arguments = ["ManagerAccount", "UserName", name];
            Refusal::conflict(message::ALREADY_EXISTS, &arguments)
        }
        AccountsError::LastAdministrator => Refusal::conflict(message::CANNOT_DELETE, &[]),
        AccountsError::Slot { .. } => Refusal::missing(ACCOUNTS),
    }
}

fn create(context: &Context<'_>) -> Answer {
    let wanted = parse(context, &Value::Null)?;
    let body = Body::of_resource(context.body);
    let name = wanted.name.ok_or_else(|| body.missing("UserName"))?;
    let password = wanted.password.ok_or_else(|| body.missing("Password"))?;
    let role = wanted.role.ok_or_else(|| body.missing("RoleId"))?;
    let mut tables = tables(context)?.into_iter();
    let (owner, accounts) = match (tables.next(), tables.next()) {
        (Some(first), None) => first,
        (Some(first), Some(_)) if first.0.is_none() => first,
        _ => return Err(Refusal::forbidden()),
    };
    let taken = accounts.table();
    let free = (SLOT_FIRST..=SLOTS_MAX)
        .find(|slot| taken.get(slot).is_none_or(|account| account.name.is_empty()));
    let slot = free.ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, Message::new(message::LIMIT_EXCEEDED, &[]))
    })?;
    let account = Account {
        name: name.clone(),
        password: Some(password),
        privilege: role.privilege(),
        enabled: wanted.enabled.unwrap_or(true),
    };
    let place = Place { owner, accounts, slot };
    place.accounts.change(slot, |_| Some(account.clone())).map_err(|e| refused(e, &name))?;
    Ok(Reply::Created { path: place.path(), body: body_of(&place, &account), token: None })
}

fn change(context: &Context<'_>) -> Answer {
    let (place, account) = find(context)?;
    let wanted = parse(context, &body_of(&place, &account))?;
    let who = context.who()?;
    let administers = tables(context)?.iter().any(|(owner, _)| *owner == place.owner);
    let only_password = wanted.name.is_none() && wanted.role.is_none() && wanted.enabled.is_none();
    let own_password = only_password && place.is_own(who);
    if !(administers || own_password) {
        return Err(Refusal::forbidden());
    }
    let name = wanted.name.clone().unwrap_or_else(|| account.name.clone());
    let changed = place.accounts.change(place.slot, |account| {
        account.map(|account| Account {
            name: wanted.name.unwrap_or(account.name),
            password: wanted.password.or(account.password),
            privilege: wanted.role.map_or(account.privilege, Role::privilege),
            enabled: wanted.enabled.unwrap_or(account.enabled),
        })
    });
    changed.map_err(|error| refused(error, &name))?;
    // The login may be no more, so the answer is made here.
    let account = place.accounts.slot(place.slot).ok_or_else(|| context.missing())?;
    Ok(Reply::Resource(body_of(&place, &account)))
}

fn delete(context: &Context<'_>) -> Answer {
    let (place, account) = find(context)?;
    if !tables(context)?.iter().any(|(owner, _)| *owner == place.owner) {
        return Err(Refusal::forbidden());
    }
    place.accounts.change(place.slot, |_| None).map_err(|e| refused(e, &account.name))?;
    Ok(Reply::Done)
}
