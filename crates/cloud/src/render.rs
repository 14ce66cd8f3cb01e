//! Templates: minijinja, as strict as it can be. Nothing is included, nothing escaped, and a name
//! that is not there is an error.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig,
    value::Object,
};

use crate::nearest::suggestion;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateFault {
    pub(crate) line: Option<usize>,
    pub(crate) problem: String,
}

impl From<Error> for TemplateFault {
    fn from(error: Error) -> Self {
        let problem = match error.detail() {
            Some(detail) => detail.to_owned(),
            None => error.kind().to_string(),
        };
        Self { line: error.line(), problem }
    }
}

/// Renders templates.
#[derive(Debug)]
pub(crate) struct Renderer(Environment<'static>);

impl Renderer {
    pub(crate) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        Self(environment)
    }

    /// Whether `text` parses.
    pub(crate) fn check(&self, name: &str, text: &str) -> Result<(), TemplateFault> {
        self.0.template_from_named_str(name, text)?;
        Ok(())
    }

    pub(crate) fn render(
        &self,
        name: &str,
        text: &str,
        context: &Value,
    ) -> Result<String, TemplateFault> {
        Ok(self.0.render_named_str(name, text, context.clone())?)
    }
}

/// A table of names whose error says what is missing and where it would come from.
#[derive(Debug)]
pub(crate) struct Names {
    /// `secret`.
    pub(crate) kind: &'static str,
    /// `services/nova-api.toml does not list it under `secrets``.
    pub(crate) absent: String,
    pub(crate) values: BTreeMap<String, Value>,
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str().unwrap_or_default();
        if let Some(value) = self.values.get(name) {
            return Some(value.clone());
        }
        let hint = suggestion(name, self.values.keys().map(String::as_str));
        let problem = format!("`{}.{name}`: {}{hint}", self.kind, self.absent);
        Some(Value::from(Error::new(ErrorKind::UndefinedError, problem)))
    }
}
