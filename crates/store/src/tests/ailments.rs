//! What is wrong is one event when it begins and one when it ends.

use undercloud_model::{
    ailment::{Ailment, Subject},
    timeline::RecordNews,
};

use super::*;
use crate::Diagnosis;

fn ill(ailment: Ailment, said: &str) -> Diagnosis {
    let text = format!("controller-0: {}", ailment.sentence());
    Diagnosis::Ill { ailment, text, hint: Some("look".into()), said: vec![said.into()] }
}

fn looping(restarts: u32) -> Ailment {
    Ailment::RestartLoop { service: "mariadb".parse().unwrap(), restarts }
}

fn well() -> Diagnosis {
    Diagnosis::Well(Subject::Service("mariadb".parse().unwrap()))
}

async fn told(store: &Store) -> Vec<String> {
    let events = store.events_since(Scope::All, 0, 1000).await.unwrap();
    let cloud = events.into_iter().filter(|event| event.kind == EventKind::Cloud);
    cloud.map(|event| event.text).collect()
}

#[tokio::test]
async fn a_trouble_that_goes_on_is_no_news_and_its_end_is() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap().id;
    store.diagnose(Some(node), &[well()], NOW).await.unwrap();
    assert!(told(&store).await.is_empty(), "what was never ill does not recover");
    store.diagnose(Some(node), &[ill(looping(3), "tc log")], NOW).await.unwrap();
    let writes = store.writes();
    store.diagnose(Some(node), &[ill(looping(4), "tc log")], NOW + 10_000).await.unwrap();
    assert_eq!(store.writes(), writes, "a heartbeat that says nothing new writes nothing");
    store.diagnose(Some(node), &[ill(looping(9), "Aborting")], NOW + 40_000).await.unwrap();
    let known = store.ailments().await.unwrap();
    assert_eq!(
        (known[0].since, known[0].said.as_slice()),
        (NOW, ["Aborting".to_owned()].as_slice())
    );
    assert_eq!(known[0].ailment, looping(9));
    let failed = Ailment::Failed { service: "mariadb".parse().unwrap() };
    store.diagnose(Some(node), &[ill(failed, "Aborting")], NOW + 50_000).await.unwrap();
    store.diagnose(Some(node), &[well()], NOW + 60_000).await.unwrap();
    assert_eq!(
        told(&store).await,
        [
            "controller-0: mariadb ends again and again: it was started 3 times in 120 s; look",
            "controller-0: mariadb failed and is not started again; look",
            "mariadb runs again, after 10 s",
        ]
    );
    assert!(store.ailments().await.unwrap().is_empty());
}

#[tokio::test]
async fn machines_and_the_cloud_are_kept_apart() {
    let Db { dir: _dir, store } = db().await;
    let node = store.enrol_node(new("controller-0", &[1]), NOW).await.unwrap().id;
    let refused = Ailment::PasswordRefused { answer: "401".into() };
    store.diagnose(None, &[ill(refused, "")], NOW).await.unwrap();
    store.diagnose(Some(node), &[ill(looping(3), "x")], NOW + 1).await.unwrap();
    assert_eq!(store.ailments().await.unwrap().len(), 2);
    assert_eq!(store.ailments_of(None).await.unwrap().len(), 1);
    store.forget_ailments_of_others().await.unwrap();
    assert_eq!(store.ailments().await.unwrap()[0].node, None);
    store.diagnose(None, &[Diagnosis::Well(Subject::Keystone)], NOW + 2).await.unwrap();
    assert!(store.ailments().await.unwrap().is_empty());
    assert_eq!(
        told(&store).await.last().unwrap(),
        "Keystone answers again, with the password that we have, after 0 s"
    );
}

#[tokio::test]
async fn a_trouble_and_its_event_are_written_together_or_not_at_all() {
    for halt in [Halt::Before(2), Halt::After(2)] {
        let dir = tempfile::tempdir().unwrap();
        let file = camino::Utf8PathBuf::from_path_buf(dir.path().join("db")).unwrap();
        let store = Store::open(&file, Open { halt: Some(halt), ..Open::at(NOW) }).await.unwrap();
        let refused = || ill(Ailment::PasswordRefused { answer: "401".into() }, "");
        store.record(None, &RecordNews::Changed.into(), NOW).await.unwrap();
        store.diagnose(None, &[refused()], NOW).await.unwrap_err();
        store.close().await;
        let store = Store::open(&file, Open::at(NOW)).await.unwrap();
        let is_known = store.ailments().await.unwrap().len() == 1;
        assert_eq!(
            (is_known, told(&store).await.len()),
            (halt == Halt::After(2), usize::from(is_known))
        );
        // It is found again, and told once in all.
        store.diagnose(None, &[refused()], NOW).await.unwrap();
        assert_eq!(told(&store).await.len(), 1);
    }
}
