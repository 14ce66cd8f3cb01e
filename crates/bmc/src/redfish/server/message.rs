//! Messages of the Base registry, and the refusals made of them (DSP0266, 8.6).

use http::StatusCode;
use serde_json::{Value, json};

use crate::machine::MachineError;

/// The version of the registry whose messages these are.
pub(super) const BASE: &str = "Base.1.18";

/// A message of the Base registry: what a client can do about it is in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    id: &'static str,
    severity: &'static str,
    /// `%1` and so on are the arguments.
    text: &'static str,
    resolution: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $id:literal, $severity:literal, $text:literal, $resolution:literal;)*) => {
        $(pub(super) const $name: Kind =
            Kind { id: $id, severity: $severity, text: $text, resolution: $resolution };)*
    };
}

kinds! {
    SUCCESS = "Success", "OK", "The request completed successfully.", "None.";
    NO_OPERATION = "NoOperation", "Warning",
        "The request body submitted contains no data to act upon and no changes to the resource took place.",
        "Add properties in the JSON object and resubmit the request.";
    MALFORMED_JSON = "MalformedJSON", "Critical",
        "The request body submitted was malformed JSON and could not be parsed by the receiving service.",
        "Ensure that the request body is valid JSON and resubmit the request.";
    UNRECOGNIZED_BODY = "UnrecognizedRequestBody", "Warning",
        "The service detected a malformed request body that it was unable to interpret.",
        "Correct the request body and resubmit the request if it failed.";
    PROPERTY_UNKNOWN = "PropertyUnknown", "Warning",
        "The property %1 is not in the list of valid properties for the resource.",
        "Remove the unknown property from the request body and resubmit the request if the operation failed.";
    PROPERTY_NOT_WRITABLE = "PropertyNotWritable", "Warning",
        "The property %1 is a read-only property and cannot be assigned a value.",
        "Remove the property from the request body and resubmit the request if the operation failed.";
    PROPERTY_TYPE = "PropertyValueTypeError", "Warning",
        "The value %1 for the property %2 is not a type that the property can accept.",
        "Correct the value for the property in the request body and resubmit the request if the operation failed.";
    PROPERTY_NOT_IN_LIST = "PropertyValueNotInList", "Warning",
        "The value %1 for the property %2 is not in the list of acceptable values.",
        "Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed.";
    PROPERTY_FORMAT = "PropertyValueFormatError", "Warning",
        "The value %1 for the property %2 is not a format that the property can accept.",
        "Correct the value for the property in the request body and resubmit the request if the operation failed.";
    PROPERTY_OUT_OF_RANGE = "PropertyValueOutOfRange", "Warning",
        "The value %1 for the property %2 is not in the supported range of acceptable values.",
        "Correct the value for the property in the request body and resubmit the request if the operation failed.";
    PROPERTY_CONFLICT = "PropertyValueConflict", "Warning",
        "The property '%1' could not be written because its value would conflict with the value of the '%2' property.",
        "No resolution is required.";
    PROPERTY_MISSING = "PropertyMissing", "Warning",
        "The property %1 is a required property and must be included in the request.",
        "Ensure that the property is in the request body and has a valid value and resubmit the request if the operation failed.";
    PARAMETER_MISSING = "ActionParameterMissing", "Critical",
        "The action %1 requires that the parameter %2 be present in the request body.",
        "Supply the action with the required parameter in the request body when the request is resubmitted.";
    PARAMETER_UNKNOWN = "ActionParameterUnknown", "Warning",
        "The action %1 was submitted with the invalid parameter %2.",
        "Correct the invalid parameter and resubmit the request if the operation failed.";
    PARAMETER_TYPE = "ActionParameterValueTypeError", "Warning",
        "The value %1 for the parameter %2 in the action %3 is not a type that the parameter can accept.",
        "Correct the value for the parameter in the request body and resubmit the request if the operation failed.";
    PARAMETER_NOT_IN_LIST = "ActionParameterValueNotInList", "Warning",
        "The value %1 for the parameter %2 in the action %3 is not in the list of acceptable values.",
        "Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed.";
    PARAMETER_FORMAT = "ActionParameterValueFormatError", "Warning",
        "The value %1 for the parameter %2 in the action %3 is not a format that the parameter can accept.",
        "Correct the value for the parameter in the request body and resubmit the request if the operation failed.";
    PARAMETER_UNSUPPORTED = "ActionParameterNotSupported", "Warning",
        "The parameter %1 for the action %2 is not supported on the target resource.",
        "Remove the parameter supplied and resubmit the request if the operation failed.";
    ACTION_UNSUPPORTED = "ActionNotSupported", "Critical",
        "The action %1 is not supported by the resource.",
        "The action supplied cannot be resubmitted to the implementation. Perhaps the action was invalid, the wrong resource was the target or the implementation documentation may be of assistance.";
    QUERY_UNSUPPORTED = "QueryNotSupported", "Warning",
        "Querying is not supported by the implementation.",
        "Remove the query parameters and resubmit the request if the operation failed.";
    QUERY_NOT_ON_RESOURCE = "QueryNotSupportedOnResource", "Warning",
        "Querying is not supported on the requested resource.",
        "Remove the query parameters and resubmit the request if the operation failed.";
    QUERY_PARAMETER_UNSUPPORTED = "QueryParameterUnsupported", "Warning",
        "Query parameter '%1' is not supported.",
        "Correct or remove the query parameter and resubmit the request.";
    QUERY_VALUE = "QueryParameterValueFormatError", "Warning",
        "The value %1 for the parameter %2 is not a format that the parameter can accept.",
        "Correct the value for the query parameter in the request and resubmit the request if the operation failed.";
    QUERY_COMBINATION = "QueryCombinationInvalid", "Warning",
        "Two or more query parameters in the request cannot be used together.",
        "Remove one or more of the query parameters and resubmit the request if the operation failed.";
    RESOURCE_MISSING = "ResourceMissingAtURI", "Critical",
        "The resource at the URI %1 was not found.",
        "Place a valid resource at the URI or correct the URI and resubmit the request.";
    NOT_ALLOWED = "OperationNotAllowed", "Warning",
        "The HTTP method is not allowed on this resource.",
        "None.";
    NO_VALID_SESSION = "NoValidSession", "Critical",
        "There is no valid session established with the implementation.",
        "Establish a session before attempting any operations.";
    PRIVILEGE = "InsufficientPrivilege", "Critical",
        "There are insufficient privileges for the account or credentials associated with the current session to perform the requested operation.",
        "Either abandon the operation or change the associated access rights and resubmit the request if the operation failed.";
    PRECONDITION = "PreconditionFailed", "Critical",
        "The ETag supplied did not match the ETag required to change this resource.",
        "Try the operation again using the appropriate ETag.";
    IN_USE = "ResourceInUse", "Warning",
        "The change to the requested resource failed because the resource is in use or in transition.",
        "Remove the condition and resubmit the request if the operation failed.";
    ALREADY_EXISTS = "ResourceAlreadyExists", "Critical",
        "The requested resource of type %1 with the property %2 with the value %3 already exists.",
        "Do not repeat the create operation as the resource has already been created.";
    LIMIT_EXCEEDED = "CreateLimitReachedForResource", "Critical",
        "The create operation failed because the resource has reached the limit of possible resources.",
        "Either delete resources and resubmit the request if the operation failed or do not resubmit the request.";
    CANNOT_DELETE = "ResourceCannotBeDeleted", "Critical",
        "The delete request failed because the resource requested cannot be deleted.",
        "Do not attempt to delete a non-deletable resource.";
    TOO_LARGE = "PayloadTooLarge", "Critical",
        "The supplied payload exceeds the maximum size supported by the service.",
        "Reduce the size of the payload and resubmit the request.";
    LATER = "ServiceTemporarilyUnavailable", "Critical",
        "The service is temporarily unavailable.  Retry in %1 seconds.",
        "Wait for the indicated retry duration and retry the operation.";
    ATTEMPTS = "AccessDenied", "Critical",
        "While attempting to establish a connection to %1, the service denied access.",
        "Attempt to ensure that the URI is correct and that the service has the appropriate credentials.";
    GENERAL = "GeneralError", "Critical",
        "A general error has occurred: %1",
        "None.";
}

/// A message with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    kind: Kind,
    arguments: Vec<String>,
    property: Option<String>,
}

impl Message {
    pub(super) fn new(kind: Kind, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self { kind, arguments, property: None }
    }

    /// About a property: its path in the body, like `/Boot/BootSourceOverrideMode`.
    pub(super) fn on(mut self, pointer: &str) -> Self {
        self.property = Some(pointer.to_owned());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let mut text = self.kind.text.to_owned();
        for (index, argument) in self.arguments.iter().enumerate() {
            text = text.replace(&format!("%{}", index + 1), argument);
        }
        let mut json = json!({
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": format!("{BASE}.{}", self.kind.id),
            "Message": text,
            "MessageArgs": self.arguments,
            "MessageSeverity": self.kind.severity,
            "Resolution": self.kind.resolution,
        });
        if let Some(property) = &self.property {
            json["RelatedProperties"] = json!([format!("#{property}")]);
        }
        json
    }
}

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) messages: Vec<Message>,
    /// The `Allow` header, where the method was wrong.
    pub(super) allow: Option<String>,
    /// The `Retry-After` header, in seconds.
    pub(super) retry_after_s: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: Message) -> Self {
        Self { status, messages: vec![message], allow: None, retry_after_s: None }
    }

    /// 400.
    pub(super) fn bad(kind: Kind, arguments: &[&str]) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Message::new(kind, arguments))
    }

    /// 404.
    pub(super) fn missing(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Message::new(RESOURCE_MISSING, &[path]))
    }

    /// 403.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, Message::new(PRIVILEGE, &[]))
    }

    /// 401.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Message::new(NO_VALID_SESSION, &[]))
    }

    /// 409.
    pub(super) fn conflict(kind: Kind, arguments: &[&str]) -> Self {
        Self::new(StatusCode::CONFLICT, Message::new(kind, arguments))
    }

    /// 503, with when to come back.
    pub(super) fn later(seconds: u32) -> Self {
        let message = Message::new(LATER, &[&seconds.to_string()]);
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
        Self { retry_after_s: Some(seconds), ..refusal }
    }

    /// What a machine says when it does not do `action`.
    pub(super) fn machine(error: &MachineError, action: &str) -> Self {
        match error {
            MachineError::Busy => Self::later(1),
            MachineError::WrongState => Self::conflict(IN_USE, &[]),
            MachineError::Unsupported => Self::bad(ACTION_UNSUPPORTED, &[action]),
            MachineError::Failed(why) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Message::new(GENERAL, &[why.as_str()]))
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let info: Vec<Value> = self.messages.iter().map(Message::to_json).collect();
        let first = info.first().cloned().unwrap_or_default();
        json!({ "error": {
            "code": first["MessageId"],
            "message": first["Message"],
            "@Message.ExtendedInfo": info,
        }})
    }
}
