//! Heat: a stack with a network in it, made and taken away, where the cloud has the feature.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use undercloud_model::ErrorKind;

use super::{
    NAME,
    session::{Service::Orchestration, Session},
    wait::{Seen, until},
};
use crate::failure::Failure;

const WORD_LENGTH: usize = 16;
/// A stack of two resources takes seconds.
const STACK_MAX: Duration = Duration::from_secs(180);
const HINT: &str = "`undercloud logs` lists the logs of heat-engine";

/// Makes a stack and reads what it puts out, then removes it.
pub(super) fn check(session: &Session) -> Result<((), String)> {
    let made = session.post(Orchestration, "/stacks", &stack())?;
    let id = made["stack"]["id"].as_str().context("Heat's answer names no stack")?;
    let path = format!("/stacks/{NAME}/{id}");
    let word = until("a stack that is complete", STACK_MAX, HINT, || {
        let answer = session.get(Orchestration, &path)?;
        let stack = &answer["stack"];
        match stack["stack_status"].as_str() {
            Some("CREATE_COMPLETE") => Ok(Seen::Yes(output(stack))),
            Some("CREATE_FAILED") => {
                let why = stack["stack_status_reason"].as_str().unwrap_or("Heat does not say why");
                let message = format!("the stack failed: {why}");
                Err(Failure::new(ErrorKind::Unavailable, message).hint(HINT).into())
            }
            status => Ok(Seen::NotYet(status.unwrap_or("no status").to_owned())),
        }
    })?;
    if word.len() != WORD_LENGTH {
        let message = format!("the stack puts out `{word}`, not a word of {WORD_LENGTH} letters");
        return Err(Failure::new(ErrorKind::Unavailable, message).hint(HINT).into());
    }
    remove(session)?;
    Ok(((), "a stack of a network and a word was made, put the word out, and is gone".to_owned()))
}

/// Heat's template guide, `heat_template_version` 2018-08-31.
fn stack() -> Value {
    json!({
        "stack_name": NAME,
        "timeout_mins": STACK_MAX.as_secs() / 60,
        "template": {
            "heat_template_version": "2018-08-31",
            "resources": {
                "network": { "type": "OS::Neutron::Net", "properties": { "name": NAME } },
                "word": {
                    "type": "OS::Heat::RandomString",
                    "properties": { "length": WORD_LENGTH },
                },
            },
            "outputs": { "word": { "value": { "get_attr": ["word", "value"] } } },
        },
    })
}

fn output(stack: &Value) -> String {
    let outputs = stack["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let word = outputs.iter().find(|output| output["output_key"] == "word");
    word.and_then(|word| word["output_value"].as_str()).unwrap_or_default().to_owned()
}

/// Removes the stack, of this run or an earlier one, and waits until what it made is gone.
pub(super) fn remove(session: &Session) -> Result<usize> {
    if !session.has(Orchestration) {
        return Ok(0);
    }
    let path = format!("/stacks/{NAME}");
    // By name Heat answers with the way to the stack's id; its list has both.
    let find = || -> Result<Option<String>> {
        let all = session.get(Orchestration, "/stacks")?;
        let stacks = all["stacks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = stacks.iter().find(|stack| stack["stack_name"] == NAME);
        Ok(ours.and_then(|stack| stack["id"].as_str()).map(str::to_owned))
    };
    let Some(id) = find()? else { return Ok(0) };
    session.delete(Orchestration, &format!("{path}/{id}"))?;
    until("a stack's end", STACK_MAX, HINT, || {
        Ok(match find()? {
            None => Seen::Yes(1),
            Some(_) => Seen::NotYet("Heat still lists it".to_owned()),
        })
    })
}
