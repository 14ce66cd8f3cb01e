//! QEMU's control protocol, as far as a container has what it controls (QEMU QMP Reference Manual):
//! power, reset and the boot order. JSON objects, one a line; one client at a time.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::MachineError;

/// The longest line that is read; the longest command of ours is below 200 bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// A client that takes nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked of the machine.
pub(crate) trait Controls: Send + Sync {
    /// Switches it off at once.
    fn quit(&self);
    /// Starts it anew at once.
    fn reset(&self);
    /// Presses the power button.
    fn press(&self);
    /// The devices that it can boot from.
    fn devices(&self) -> Vec<String>;
    /// Gives a device its place in the boot order; below zero, takes it out.
    fn place(&self, device: &str, index: i64) -> Result<(), String>;
}

/// Tells the client, if there is one, what happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events {
    client: Arc<Mutex<Option<UnixStream>>>,
}

impl Events {
    pub(crate) fn tell(&self, event: &str, data: &Value) {
        self.send(&json!({ "event": event, "data": data, "timestamp": {} }));
    }

    fn send(&self, message: &Value) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{message}\r\n");
        if client.as_mut().is_some_and(|stream| stream.write_all(line.as_bytes()).is_err()) {
            *client = None;
        }
    }

    fn set(&self, stream: Option<UnixStream>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }
}

/// Listens on `qmp.sock` in the working directory.
pub(crate) fn start(controls: Arc<dyn Controls>, events: Events) -> Result<(), MachineError> {
    let listener = UnixListener::bind("qmp.sock")
        .map_err(MachineError::io("listen on qmp.sock in the machine's directory"))?;
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &*controls, &events);
                events.set(None);
            }
        })
        .map(drop)
        .map_err(MachineError::io("start the control thread"))
}

#[derive(Deserialize)]
struct Command {
    execute: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    id: Value,
}

fn serve(stream: UnixStream, controls: &dyn Controls, events: &Events) {
    let Ok(writer) = stream.try_clone() else { return };
    if writer.set_write_timeout(Some(PATIENCE)).is_err() {
        return;
    }
    events.set(Some(writer));
    events.send(&json!({ "QMP": {
        "version": { "qemu": { "micro": 0, "minor": 0, "major": 0 }, "package": "undercloud" },
        "capabilities": [],
    }}));
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => events.send(&answer(&line, controls)),
        }
    }
}

fn answer(line: &[u8], controls: &dyn Controls) -> Value {
    let refused = |id: &Value, class: &str, text: String| json!({ "id": id, "error": { "class": class, "desc": text } });
    let command: Command = match serde_json::from_slice(line) {
        Ok(command) => command,
        Err(error) => return refused(&Value::Null, "GenericError", error.to_string()),
    };
    let arguments = &command.arguments;
    let done = match command.execute.as_str() {
        "qmp_capabilities" => Ok(json!({})),
        "query-status" => Ok(json!({ "status": "running", "running": true })),
        "query-block" => Ok(json!([])),
        "qom-list" => {
            Ok(controls.devices().iter().map(|device| json!({ "name": device })).collect())
        }
        "qom-set" => {
            let path = arguments["path"].as_str().unwrap_or_default();
            let device = path.rsplit('/').next().unwrap_or_default();
            match (arguments["property"].as_str(), arguments["value"].as_i64()) {
                (Some("bootindex"), Some(index)) => {
                    controls.place(device, index).map(|()| json!({}))
                }
                _ => Err("only `bootindex` can be set, to a number".to_owned()),
            }
        }
        "system_powerdown" => {
            controls.press();
            Ok(json!({}))
        }
        "system_reset" => {
            controls.reset();
            Ok(json!({}))
        }
        "quit" => {
            controls.quit();
            Ok(json!({}))
        }
        other => {
            let text = format!("a machine that is a container does not know {other}");
            return refused(&command.id, "CommandNotFound", text);
        }
    };
    match done {
        Ok(value) => json!({ "id": command.id, "return": value }),
        Err(text) => refused(&command.id, "GenericError", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake(Mutex<Vec<String>>);

    impl Fake {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }
    }

    impl Controls for Fake {
        fn quit(&self) {
            self.note("quit".to_owned());
        }
        fn reset(&self) {
            self.note("reset".to_owned());
        }
        fn press(&self) {
            self.note("press".to_owned());
        }
        fn devices(&self) -> Vec<String> {
            vec!["disk0".to_owned(), "nic0".to_owned()]
        }
        fn place(&self, device: &str, index: i64) -> Result<(), String> {
            self.note(format!("{device} {index}"));
            if device == "cd0" { Err("no such device".to_owned()) } else { Ok(()) }
        }
    }

    #[test]
    fn what_the_lab_says_to_qemu_is_understood() {
        let fake = Fake::default();
        let ask = |line: &str| answer(line.as_bytes(), &fake);
        assert_eq!(
            ask(r#"{"execute":"qom-list","id":1,"arguments":{"path":"/machine/peripheral"}}"#),
            json!({ "id": 1, "return": [{ "name": "disk0" }, { "name": "nic0" }] })
        );
        let set = r#"{"execute":"qom-set","id":2,"arguments":
            {"path":"/machine/peripheral/nic0","property":"bootindex","value":0}}"#;
        assert_eq!(ask(set), json!({ "id": 2, "return": {} }));
        assert_eq!(ask(&set.replace("nic0", "cd0"))["error"]["class"], "GenericError");
        assert_eq!(ask(r#"{"execute":"system_reset"}"#)["return"], json!({}));
        assert_eq!(ask(r#"{"execute":"inject-nmi","id":3}"#)["error"]["class"], "CommandNotFound");
        assert_eq!(ask("nonsense")["error"]["class"], "GenericError");
        assert_eq!(*fake.0.lock().unwrap(), ["nic0 0", "cd0 0", "reset"]);
    }
}
