//! Checks of a request's body: every property is known, writable and of the right type, or the
//! answer says which is not.

use serde_json::{Map, Value};

use super::message::{self, Kind, Message, Refusal};

/// The properties of a body, taken one by one; what is left over is refused or reported.
#[derive(Debug)]
pub(super) struct Body<'a> {
    object: &'a Map<String, Value>,
    /// Where the object is in the body: empty, or like `/Boot`.
    pointer: String,
    /// The action whose parameters these are.
    action: Option<&'static str>,
    taken: Vec<&'static str>,
}

/// Longest value that an error repeats.
const SHOWN_MAX: usize = 64;

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(SHOWN_MAX).collect()
}

impl<'a> Body<'a> {
    pub(super) fn of_resource(object: &'a Map<String, Value>) -> Self {
        Self { object, pointer: String::new(), action: None, taken: Vec::new() }
    }

    pub(super) fn of_action(object: &'a Map<String, Value>, action: &'static str) -> Self {
        Self { action: Some(action), ..Self::of_resource(object) }
    }

    fn refuse(
        &self,
        name: &str,
        value: Option<&Value>,
        property: Kind,
        parameter: Kind,
    ) -> Refusal {
        let value = value.map(shown);
        let mut arguments: Vec<&str> = value.iter().map(String::as_str).collect();
        let message = match self.action {
            Some(action) if value.is_some() => {
                arguments.extend([name, action]);
                Message::new(parameter, &arguments)
            }
            Some(action) => Message::new(parameter, &[action, name]),
            None => {
                arguments.push(name);
                Message::new(property, &arguments)
            }
        };
        let message = message.on(&format!("{}/{name}", self.pointer));
        Refusal::new(http::StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn wrong_type(&self, name: &str, value: &Value) -> Refusal {
        self.refuse(name, Some(value), message::PROPERTY_TYPE, message::PARAMETER_TYPE)
    }

    pub(super) fn not_in_list(&self, name: &str, value: &str) -> Refusal {
        let value = Value::from(value);
        let (property, parameter) = (message::PROPERTY_NOT_IN_LIST, message::PARAMETER_NOT_IN_LIST);
        self.refuse(name, Some(&value), property, parameter)
    }

    pub(super) fn bad_format(&self, name: &str, value: &str) -> Refusal {
        let value = Value::from(value);
        self.refuse(name, Some(&value), message::PROPERTY_FORMAT, message::PARAMETER_FORMAT)
    }

    pub(super) fn missing(&self, name: &str) -> Refusal {
        self.refuse(name, None, message::PROPERTY_MISSING, message::PARAMETER_MISSING)
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        self.taken.push(name);
        let Some(value) = self.object.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong_type(name, value))
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        self.take(name, Value::as_str)
    }

    pub(super) fn truth(&mut self, name: &'static str) -> Result<Option<bool>, Refusal> {
        self.take(name, Value::as_bool)
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<u64>, Refusal> {
        self.take(name, Value::as_u64)
    }

    pub(super) fn list(&mut self, name: &'static str) -> Result<Option<&'a [Value]>, Refusal> {
        self.take(name, |value| value.as_array().map(Vec::as_slice))
    }

    /// A text that may be `null`.
    pub(super) fn nullable(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Option<&'a str>>, Refusal> {
        self.take(name, |value| match value {
            Value::Null => Some(None),
            other => other.as_str().map(Some),
        })
    }

    /// One of the values of a table.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        table: &[(&'static str, T)],
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = table.iter().find(|(value, _)| *value == text);
        found.map(|(_, t)| Some(*t)).ok_or_else(|| self.not_in_list(name, text))
    }

    /// An object inside the body.
    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Body<'a>>, Refusal> {
        let object = self.take(name, Value::as_object)?;
        let pointer = format!("{}/{name}", self.pointer);
        Ok(object.map(|object| Body { pointer, ..Body::of_resource(object) }))
    }

    /// What nobody took: properties that `resource` has are read-only, others are unknown.
    fn left(&self, resource: &Value) -> Vec<Message> {
        let names = self.object.keys().filter(|name| !self.taken.contains(&name.as_str()));
        // Clients may send annotations back; they say nothing (DSP0266, 7.8).
        let names = names.filter(|name| !name.starts_with('@'));
        let mut left = Vec::new();
        for name in names {
            let shown: String = name.chars().take(SHOWN_MAX).collect();
            let message = match self.action {
                Some(action) => Message::new(message::PARAMETER_UNKNOWN, &[action, &shown]),
                None if resource.get(name.as_str()).is_some() => {
                    Message::new(message::PROPERTY_NOT_WRITABLE, &[&shown])
                }
                None => Message::new(message::PROPERTY_UNKNOWN, &[&shown]),
            };
            left.push(message.on(&format!("{}/{shown}", self.pointer)));
        }
        left
    }

    /// Refuses a body with anything in it that was not taken, or with nothing at all.
    ///
    /// Nothing is ever half done: DSP0266 7.8 lets a service refuse such a body as a whole.
    pub(super) fn finish(&self, resource: &Value) -> Result<(), Refusal> {
        let left = self.left(resource);
        if !left.is_empty() {
            let first = Refusal::bad(message::SUCCESS, &[]);
            return Err(Refusal { messages: left, ..first });
        }
        let empty = !self.object.keys().any(|name| self.taken.contains(&name.as_str()));
        if empty && self.action.is_none() {
            return Err(Refusal::bad(message::NO_OPERATION, &[]));
        }
        Ok(())
    }
}
