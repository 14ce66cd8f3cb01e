//! What a resource is to the service: an address, the methods it has, and what each needs.

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::{Map, Value};

use std::{sync::Arc, time::Instant};

use super::{
    login::{Principal, Role},
    message::Refusal,
    reply::Reply,
    service::Service,
    site::Unit,
};

/// The beginning of every address but two.
pub(super) const PREFIX: &str = "/redfish/v1";

pub(super) type Answer = Result<Reply, Refusal>;

/// Does what a request asks for.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// From what is in memory.
    Now(for<'a> fn(&'a Context<'a>) -> Answer),
    /// By asking the machine.
    Later(for<'a> fn(&'a Context<'a>) -> BoxFuture<'a, Answer>),
}

/// What a request has to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: DSP0266, 13.3.1 leaves the root and the way to log in open.
    Nothing,
    /// A login with at least this role at the machine, or anywhere when it is about none.
    Role(Role),
    /// A login that administers every machine.
    Site,
}

/// A method of a resource.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) needs: Needs,
    pub(super) handler: Handler,
}

/// A resource.
pub(super) struct Route {
    /// The address; `{}` stands for one segment, `{unit}` for the id of a machine.
    pub(super) path: &'static str,
    pub(super) get: Option<Operation>,
    pub(super) post: Option<Operation>,
    pub(super) patch: Option<Operation>,
    pub(super) delete: Option<Operation>,
}

impl Route {
    const fn at(path: &'static str) -> Self {
        Self { path, get: None, post: None, patch: None, delete: None }
    }

    /// A resource that anybody may read.
    pub(super) const fn open(
        path: &'static str,
        get: for<'a> fn(&'a Context<'a>) -> Answer,
    ) -> Self {
        let get = Operation { needs: Needs::Nothing, handler: Handler::Now(get) };
        Self { get: Some(get), ..Self::at(path) }
    }

    /// A resource that every user may read.
    pub(super) const fn new(
        path: &'static str,
        get: for<'a> fn(&'a Context<'a>) -> Answer,
    ) -> Self {
        let get = Operation { needs: Needs::Role(Role::ReadOnly), handler: Handler::Now(get) };
        Self { get: Some(get), ..Self::at(path) }
    }

    /// The same, for one that has to ask the machine.
    pub(super) const fn asking(
        path: &'static str,
        get: for<'a> fn(&'a Context<'a>) -> BoxFuture<'a, Answer>,
    ) -> Self {
        let get = Operation { needs: Needs::Role(Role::ReadOnly), handler: Handler::Later(get) };
        Self { get: Some(get), ..Self::at(path) }
    }

    /// An action: nothing but POST.
    pub(super) const fn action(path: &'static str, needs: Needs, handler: Handler) -> Self {
        Self { post: Some(Operation { needs, handler }), ..Self::at(path) }
    }

    pub(super) const fn post(self, needs: Needs, handler: Handler) -> Self {
        Self { post: Some(Operation { needs, handler }), ..self }
    }

    pub(super) const fn patch(self, needs: Needs, handler: Handler) -> Self {
        Self { patch: Some(Operation { needs, handler }), ..self }
    }

    pub(super) const fn delete(self, needs: Needs, handler: Handler) -> Self {
        Self { delete: Some(Operation { needs, handler }), ..self }
    }

    pub(super) fn operation(&self, method: &Method) -> Option<&Operation> {
        match *method {
            Method::GET | Method::HEAD => self.get.as_ref(),
            Method::POST => self.post.as_ref(),
            Method::PATCH => self.patch.as_ref(),
            Method::DELETE => self.delete.as_ref(),
            _ => None,
        }
    }

    /// The `Allow` header.
    pub(super) fn allow(&self) -> String {
        let mut methods = Vec::new();
        if self.get.is_some() {
            methods.extend(["GET", "HEAD"]);
        }
        for (has, name) in [
            (self.post.is_some(), "POST"),
            (self.patch.is_some(), "PATCH"),
            (self.delete.is_some(), "DELETE"),
        ] {
            if has {
                methods.push(name);
            }
        }
        methods.join(", ")
    }

    /// The variable segments, if `path` is an address of this resource.
    fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut arguments = Vec::new();
        let mut segments = path.split('/');
        for wanted in self.path.split('/') {
            let segment = segments.next()?;
            if wanted.starts_with('{') {
                if segment.is_empty() {
                    return None;
                }
                arguments.push(segment);
            } else if wanted != segment {
                return None;
            }
        }
        segments.next().is_none().then_some(arguments)
    }

    pub(super) fn is_about_a_unit(&self) -> bool {
        self.path.contains("{unit}")
    }
}

/// Finds the resource of an address, and the variable parts of it.
pub(super) fn find(path: &str) -> Option<(&'static Route, Vec<&str>)> {
    let tables = super::resource::ROUTES.iter().flat_map(|table| table.iter());
    tables.into_iter().find_map(|route| route.matches(path).map(|arguments| (route, arguments)))
}

/// A request, as a resource sees it.
pub(super) struct Context<'a> {
    pub(super) service: &'a Service,
    pub(super) path: &'a str,
    pub(super) arguments: &'a [&'a str],
    pub(super) who: Option<&'a Principal>,
    pub(super) unit: Option<Arc<Unit>>,
    pub(super) body: &'a Map<String, Value>,
    pub(super) peer: std::net::IpAddr,
    pub(super) now: Instant,
}

impl Context<'_> {
    /// The machine of the address; the service has found it and checked the right to it.
    pub(super) fn unit(&self) -> Result<&Arc<Unit>, Refusal> {
        self.unit.as_ref().ok_or_else(|| self.missing())
    }

    pub(super) fn who(&self) -> Result<&Principal, Refusal> {
        self.who.ok_or_else(Refusal::unauthorized)
    }

    pub(super) fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).copied().unwrap_or_default()
    }

    pub(super) fn missing(&self) -> Refusal {
        Refusal::missing(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_find_their_resource() {
        let (route, arguments) = find("/redfish/v1/Systems/a/Storage/1").expect("found");
        assert_eq!(route.path, "/redfish/v1/Systems/{unit}/Storage/{}");
        assert_eq!(arguments, ["a", "1"]);
        for path in ["", "/", "/redfish/v1/Systems/", "/redfish/v1/Systems//Storage", "/x"] {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn no_resource_hides_another() {
        for route in super::super::resource::ROUTES.iter().flat_map(|table| table.iter()) {
            let path = route.path.replace("{unit}", "u").replace("{}", "x");
            let (found, _) = find(&path).expect("found");
            assert_eq!(found.path, route.path);
        }
    }

    #[test]
    fn only_the_way_in_is_open() {
        let mut open = Vec::new();
        for route in super::super::resource::ROUTES.iter().flat_map(|table| table.iter()) {
            for operation in [route.get, route.post, route.patch, route.delete].iter().flatten() {
                if operation.needs == Needs::Nothing {
                    open.push(route.path);
                }
            }
        }
        let expected = [
            "/redfish",
            "/redfish/v1/",
            "/redfish/v1/odata",
            "/redfish/v1/$metadata",
            "/redfish/v1/SessionService/Sessions",
            "/redfish/v1/SessionService/Sessions/Members",
        ];
        assert_eq!(open, expected);
    }
}
