//! The client half against the server half, over TLS.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{net::TcpListener, sync::Arc, time::Duration};

use fixture::{
    credentials,
    rack::{Rack, RackMachine, SITE_PASSWORD, SITE_USER, password},
};
use undercloud_bmc::{
    credentials::Credentials,
    machine::{BootDevice, Machine as _, MachineError, Media, MediaSlot, PowerAction, PowerState},
    redfish::{
        client::{BootEnabled, BootMode, Budget, Client, ClientError, Config, ErrorKind},
        link::{Fingerprint, Trust},
        server::{Server, ServerHandle, Transport, tls::Certificate},
    },
};

struct World {
    server: ServerHandle,
    rack: Rack,
    pin: Fingerprint,
}

impl World {
    fn new(machines: u8) -> Self {
        let rack = Rack::new(machines);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let own = Certificate::self_signed(&["localhost"], &[[127, 0, 0, 1].into()]);
        let own = own.expect("certificate");
        let pin = Fingerprint::of(own.chain.first().expect("certificate"));
        let transport = Transport::Tls(own.into_config().expect("configuration"));
        let server = Server::start(listener, transport, rack.site.clone()).expect("start");
        Self { server, rack, pin }
    }

    fn config(&self, credentials: Credentials, path: &str) -> Config {
        Config {
            address: format!("https://{}{path}", self.server.address()),
            credentials,
            trust: Trust::Pinned(self.pin),
            deadline: Duration::from_secs(10),
            budget: Budget { burst: 1000, interval: Duration::from_millis(1) },
        }
    }

    async fn client(&self) -> Client {
        let config = self.config(credentials("admin", &password(1)), "");
        Client::connect(config).await.expect("connect")
    }

    fn machine(&self) -> &Arc<RackMachine> {
        self.rack.machines.first().expect("machine")
    }
}

#[tokio::test]
async fn power_is_switched_and_seen() {
    let world = World::new(1);
    let client = world.client().await;
    assert_eq!(client.power_state().await.expect("state"), PowerState::Off);
    for (action, on) in [
        (PowerAction::On, true),
        (PowerAction::Reset, true),
        (PowerAction::Cycle, true),
        (PowerAction::Diag, true),
        (PowerAction::Soft, false),
        (PowerAction::On, true),
        (PowerAction::Off, false),
    ] {
        client.power(action).await.expect("power");
        assert_eq!(world.machine().is_on(), on, "{action:?}");
    }
    let refused = client.power(PowerAction::Diag).await.expect_err("off");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    for (fault, kind) in
        [(MachineError::Busy, ErrorKind::Busy), (MachineError::Unsupported, ErrorKind::Invalid)]
    {
        world.machine().fail_next(fault);
        let error = client.power(PowerAction::On).await.expect_err("fault");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_boot_override_holds_as_long_as_it_says() {
    let world = World::new(1);
    let client = world.client().await;
    for mode in [BootMode::Uefi, BootMode::Legacy] {
        for enabled in [BootEnabled::Once, BootEnabled::Continuous] {
            client.set_boot(BootDevice::Pxe, enabled, Some(mode)).await.expect("set");
            client.power(PowerAction::Off).await.expect("off");
            client.power(PowerAction::On).await.expect("on");
            let used = *world.machine().boots().last().expect("booted");
            assert!(used.valid && used.device == BootDevice::Pxe);
            assert_eq!(used.efi, mode == BootMode::Uefi);
            let after = client.boot().await.expect("boot").enabled;
            let held = enabled == BootEnabled::Continuous;
            assert_eq!(after == BootEnabled::Continuous, held, "{enabled:?}");
            client.set_boot(BootDevice::None, BootEnabled::Disabled, None).await.expect("clear");
            assert_eq!(client.boot().await.expect("boot").enabled, BootEnabled::Disabled);
        }
    }
    let error = client.set_boot(BootDevice::Safe, BootEnabled::Once, None).await.expect_err("safe");
    assert!(matches!(error, ClientError::NotOffered { .. }));
}

#[tokio::test]
async fn drives_that_a_machine_does_not_have_are_not_there() {
    let world = World::new(1);
    let client = world.client().await;
    let media = Media { image: "http://images.example/a".into(), write_protected: true };
    for (slots, listed) in [(&[][..], false), (&[MediaSlot::Cd][..], true)] {
        world.machine().set_slots(slots);
        let error = client.insert_media(MediaSlot::UsbStick, &media).await.expect_err("no drive");
        assert!(matches!(error, ClientError::NotOffered { .. }), "{error}");
        for path in [client.system_path(), "/redfish/v1/Managers/m1"] {
            let whole = client.get_raw(path).await.expect("resource");
            assert_eq!(whole.get("VirtualMedia").is_some(), listed, "{path}");
            let list = client.get_raw(&format!("{path}/VirtualMedia")).await;
            assert_eq!(list.is_ok(), listed, "{path}");
            let stick = client.get_raw(&format!("{path}/VirtualMedia/UsbStick")).await;
            assert_eq!(stick.expect_err("no stick").kind(), ErrorKind::NotFound);
        }
    }
    client.insert_media(MediaSlot::Cd, &media).await.expect("a CD");
}

#[tokio::test]
async fn media_go_in_and_out() {
    let world = World::new(1);
    let client = world.client().await;
    for slot in MediaSlot::ALL {
        for image in ["http://images.example/a.iso", "https://images.example/b.iso"] {
            let media = Media { image: image.into(), write_protected: true };
            client.insert_media(slot, &media).await.expect("insert");
            assert_eq!(world.machine().inserted(slot), Some(media.clone()));
            assert_eq!(client.media(slot).await.expect("media"), Some(media));
        }
        client.eject_media(slot).await.expect("eject");
        client.eject_media(slot).await.expect("nothing to eject");
        assert_eq!(world.machine().inserted(slot), None);
    }
    let media = Media { image: "file:///etc/shadow".into(), write_protected: true };
    let error = client.insert_media(MediaSlot::Cd, &media).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn the_inventory_is_the_machines() {
    let world = World::new(1);
    let client = world.client().await;
    assert_eq!(client.inventory().await.expect("inventory"), world.machine().inventory());
    let capabilities = client.capabilities().await.expect("capabilities");
    assert!(capabilities.sessions && capabilities.virtual_media && capabilities.event_stream);
    assert_eq!(capabilities.reset_types.len(), 9);
    world.machine().set_power(PowerState::On);
    let sensors = client.sensors().await.expect("sensors");
    assert_eq!(sensors.len(), 2);
    assert!(sensors.iter().any(|sensor| sensor.reading == Some(25.0)), "{sensors:?}");
}

#[tokio::test]
async fn events_are_told_of_ones_own_machine_only() {
    let world = World::new(2);
    let config = world.config(credentials("admin", &password(1)), "/redfish/v1/Systems/m1");
    let client = Client::connect(config).await.expect("connect");
    let mut events = client.events().await.expect("events");
    let [own, other] = world.rack.machines.as_slice() else { panic!("two machines") };
    for power in [PowerState::On, PowerState::Off] {
        other.set_power(power);
        own.set_power(power);
        let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
        let event = event.expect("in time").expect("stream").expect("event");
        assert_eq!(event.system, "/redfish/v1/Systems/m1");
        assert_eq!(event.power, power);
    }
    // A stream ends with the password it was opened with.
    world.rack.site.remove("m1").then_some(()).expect("removed");
    let end = tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("in time");
    assert_eq!(end.expect("a clean end"), None);
}

#[tokio::test]
async fn who_is_not_known_gets_nowhere() {
    let world = World::new(2);
    let wrong = world.config(credentials("admin", "sixteen-wrong-xx"), "");
    let error = Client::connect(wrong).await.expect_err("wrong password");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let other = world.config(credentials("admin", &password(1)), "/redfish/v1/Systems/m2");
    let error = Client::connect(other).await.expect_err("machine of others");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let site = world.config(credentials(SITE_USER, SITE_PASSWORD), "/redfish/v1/Systems/m2");
    Client::connect(site).await.expect("the site sees all");
    let mut pinned = world.config(credentials("admin", &password(1)), "");
    pinned.trust = Trust::Pinned(Fingerprint([0; 32]));
    let error = Client::connect(pinned).await.expect_err("wrong certificate");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_lost_session_is_opened_again_and_a_closed_one_stays_closed() {
    let world = World::new(1);
    let client = world.client().await;
    let other = world.client().await;
    // The manager's reset ends all sessions.
    let path = "/redfish/v1/Managers/m1/Actions/Manager.Reset";
    other.post_raw(path, &serde_json::json!({})).await.expect("reset");
    assert_eq!(client.power_state().await.expect("again"), PowerState::Off);
    let sessions = || async {
        let body = client.get_raw("/redfish/v1/SessionService/Sessions").await.expect("sessions");
        body["Members"].as_array().expect("members").len()
    };
    let before = sessions().await;
    let third = world.client().await;
    assert_eq!(sessions().await, before + 1);
    third.log_out().await;
    assert_eq!(sessions().await, before);
}
