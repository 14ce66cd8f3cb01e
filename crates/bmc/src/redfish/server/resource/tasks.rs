//! Tasks, and the service that lists them.

use serde_json::{Value, json};

use super::{
    super::{
        message::Refusal,
        reply::Reply,
        route::{Answer, Context, Route},
        service::timestamp,
        tasks::{Outcome, Task},
    },
    collection, enabled, link, resource,
};

const SERVICE: &str = "/redfish/v1/TaskService";
const TASKS: &str = "/redfish/v1/TaskService/Tasks";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SERVICE, service),
    Route::new(TASKS, list),
    Route::new("/redfish/v1/TaskService/Tasks/{}", task),
];

fn service(_: &Context<'_>) -> Answer {
    Ok(Reply::Resource(resource(
        "TaskService",
        SERVICE,
        "TaskService",
        "Tasks",
        json!({
            "ServiceEnabled": true,
            "DateTime": timestamp(),
            "CompletedTaskOverWritePolicy": "Oldest",
            "LifeCycleEventOnTaskStateChange": false,
            "Tasks": link(TASKS),
            "Status": enabled(),
        }),
    )))
}

/// The address of a task.
pub(in super::super) fn path(id: u64) -> String {
    format!("{TASKS}/{id}")
}

fn visible(context: &Context<'_>) -> Result<Vec<Task>, Refusal> {
    let who = context.who()?;
    let sees = |task: &Task| {
        let unit = context.service.site.unit(&task.unit);
        unit.is_some_and(|unit| who.role_at(&unit).is_some())
    };
    Ok(context.service.tasks.list(sees))
}

fn list(context: &Context<'_>) -> Answer {
    let members: Vec<String> = visible(context)?.iter().map(|task| path(task.id)).collect();
    Ok(Reply::Resource(collection("TaskCollection", TASKS, "Tasks", &members)))
}

fn task(context: &Context<'_>) -> Answer {
    let id = context.argument(0);
    let found = visible(context)?.into_iter().find(|task| task.id.to_string() == id);
    found.map(|task| Reply::Resource(show(&task))).ok_or_else(|| context.missing())
}

/// A task as a resource.
pub(in super::super) fn show(task: &Task) -> Value {
    let (state, status, messages) = match &task.outcome {
        Outcome::Running => ("Running", "OK", Vec::new()),
        Outcome::Done => ("Completed", "OK", Vec::new()),
        Outcome::Failed(error) => {
            let refusal = Refusal::machine(error, &task.name);
            let messages = refusal.messages.iter().map(|message| message.to_json()).collect();
            ("Exception", "Critical", messages)
        }
    };
    let id = task.id.to_string();
    let mut body = resource(
        "Task",
        &path(task.id),
        &id,
        &task.name,
        json!({
            "TaskState": state,
            "TaskStatus": status,
            "StartTime": task.started,
            "Messages": messages,
        }),
    );
    if let Some(ended) = &task.ended {
        body["EndTime"] = ended.clone().into();
        body["PercentComplete"] = 100.into();
    }
    body
}
