//! The controller's memory and deadlines, without a socket.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{sync::Arc, time::Duration};

use fixture::MemoryMachine;
use undercloud_bmc::{
    ipmi::{
        command::{
            Controller,
            nvram::{EVENTS_MAX, Nvram, NvramCell},
        },
        completion::Completion,
        msg::{
            boot_option::{BootOption, KEEP_WITHOUT_COMMAND},
            chassis_control, chassis_identify, get_boot_options, get_chassis_status,
            get_restart_cause, get_sel_entry, get_sel_info, get_system_info, get_watchdog,
            reset_watchdog, set_boot_options, set_system_info, set_watchdog,
        },
        session::{Request, Reset},
        wire::{Command, Decode},
    },
    machine::{BootDevice, BootFlags, PowerAction, PowerState},
};

const NOW: Duration = Duration::from_secs(100);
const MINUTE: Duration = Duration::from_secs(60);

fn controller() -> (Controller, Arc<MemoryMachine>) {
    let machine = MemoryMachine::new(Duration::ZERO);
    (Controller::new(machine.clone()), machine)
}

async fn ask<C: Command>(
    controller: &Controller,
    request: &C,
    now: Duration,
) -> Result<C::Response, Completion> {
    let request = Request { netfn: C::NETFN, command: C::CODE, data: request.to_bytes() };
    let reply = controller.answer(&request, now).await;
    match reply.completion {
        Completion::OK => Ok(C::Response::decode(&reply.data).expect("a response")),
        code => Err(code),
    }
}

fn set(persistent: bool) -> set_boot_options::Request {
    let flags = BootFlags { device: BootDevice::Pxe, efi: false, persistent, valid: true };
    set_boot_options::Request::set(BootOption::BootFlags(flags))
}

async fn power(controller: &Controller, action: PowerAction, now: Duration) {
    ask(controller, &chassis_control::Request { action }, now).await.expect("power");
}

#[tokio::test]
async fn boot_flags_expire_after_a_minute() {
    let (controller, machine) = controller();
    ask(&controller, &set(false), NOW).await.expect("set");
    assert_eq!(controller.next_deadline(), Some(NOW + MINUTE));
    controller.on_deadline(NOW + MINUTE - Duration::from_secs(1)).await;
    assert!(machine.state().flags.valid);
    controller.on_deadline(NOW + MINUTE).await;
    let flags = BootFlags { device: BootDevice::Pxe, valid: false, ..BootFlags::NONE };
    assert_eq!(machine.state().flags, flags);
    assert_eq!(controller.next_deadline(), None);
}

#[tokio::test]
async fn what_keeps_boot_flags() {
    let keep = BootOption::ValidBitClearing(KEEP_WITHOUT_COMMAND);
    let keep = set_boot_options::Request::set(keep);
    let (controller, _machine) = controller();
    ask(&controller, &set(true), NOW).await.expect("set");
    assert_eq!(controller.next_deadline(), None, "persistent");
    ask(&controller, &set(false), NOW).await.expect("set");
    ask(&controller, &keep, NOW).await.expect("keep");
    assert_eq!(controller.next_deadline(), None, "told to keep them, afterwards");
    ask(&controller, &set(false), NOW).await.expect("set");
    assert_eq!(controller.next_deadline(), None, "told to keep them, before");
    controller.reset(Reset::Cold).await;
    ask(&controller, &set(false), NOW).await.expect("set");
    assert_eq!(controller.next_deadline(), Some(NOW + MINUTE), "forgotten by a reset");
    let later = NOW + MINUTE / 2;
    power(&controller, PowerAction::Off, later).await;
    assert_eq!(
        controller.next_deadline(),
        Some(later + MINUTE),
        "a command starts the minute again"
    );
    power(&controller, PowerAction::On, later).await;
    assert_eq!(controller.next_deadline(), None, "used");
}

#[tokio::test]
async fn flags_that_others_set_do_not_expire() {
    use undercloud_bmc::machine::Machine;
    let (controller, machine) = controller();
    ask(&controller, &set(false), NOW).await.expect("set");
    let others = BootFlags { device: BootDevice::Disk, valid: true, ..BootFlags::NONE };
    machine.set_boot_flags(others).await.expect("set");
    controller.on_deadline(NOW + MINUTE).await;
    assert_eq!(machine.state().flags, others);
}

#[tokio::test]
async fn boot_parameters() {
    let (controller, _machine) = controller();
    let set = async |option: BootOption| {
        ask(&controller, &set_boot_options::Request::set(option), NOW).await.map(|_| ())
    };
    set(BootOption::SetInProgress(1)).await.expect("begin");
    assert_eq!(set(BootOption::SetInProgress(1)).await, Err(Completion::SET_IN_PROGRESS));
    set(BootOption::SetInProgress(2)).await.expect("commit");
    set(BootOption::SetInProgress(0)).await.expect("complete");
    set(BootOption::InfoAcknowledge { mask: 0x11, data: 0xff }).await.expect("acknowledge");
    let block = vec![7; 16];
    set(BootOption::Mailbox { block: 4, data: block.clone() }).await.expect("mailbox");
    let beyond = set(BootOption::Mailbox { block: 5, data: vec![] }).await;
    assert_eq!(beyond, Err(Completion::PARAMETER_OUT_OF_RANGE));
    let other = set(BootOption::Other { parameter: 2, data: vec![1] }).await;
    assert_eq!(other, Err(Completion::PARAMETER_NOT_SUPPORTED));
    let get = async |parameter: u8, set: u8| {
        let request = get_boot_options::Request { parameter, set, block: 0 };
        ask(&controller, &request, NOW).await.map(|response| response.option)
    };
    assert_eq!(get(0, 0).await, Ok(BootOption::SetInProgress(0)));
    assert_eq!(get(4, 0).await, Ok(BootOption::InfoAcknowledge { mask: 0, data: 0x11 }));
    assert_eq!(get(7, 4).await, Ok(BootOption::Mailbox { block: 4, data: block }));
    assert_eq!(get(7, 5).await, Err(Completion::PARAMETER_OUT_OF_RANGE));
    for parameter in [1, 2, 6, 8, 96, 127] {
        assert_eq!(get(parameter, 0).await, Err(Completion::PARAMETER_NOT_SUPPORTED));
    }
}

#[tokio::test]
async fn who_begins_and_never_completes_is_forgotten() {
    let (controller, _machine) = controller();
    let begin = set_boot_options::Request::set(BootOption::SetInProgress(1));
    ask(&controller, &begin, NOW).await.expect("begin");
    assert!(ask(&controller, &begin, NOW + MINUTE - Duration::from_secs(1)).await.is_err());
    ask(&controller, &begin, NOW + MINUTE).await.expect("begin");
}

#[tokio::test]
async fn the_light_and_the_cause() {
    let (controller, _machine) = controller();
    let misc = async |now: Duration| {
        ask(&controller, &get_chassis_status::Request, now).await.expect("status").misc
    };
    let identify = async |seconds, forever| {
        let request = chassis_identify::Request { seconds, forever };
        ask(&controller, &request, NOW).await.expect("identify");
    };
    let after = |seconds| NOW + Duration::from_secs(seconds);
    assert_eq!(misc(NOW).await, 0x40);
    identify(None, false).await;
    assert_eq!((misc(after(14)).await, misc(after(15)).await), (0x50, 0x40));
    identify(Some(0), true).await;
    assert_eq!(misc(after(9999)).await, 0x60);
    identify(Some(0), false).await;
    assert_eq!(misc(NOW).await, 0x40);

    let cause =
        async || ask(&controller, &get_restart_cause::Request, NOW).await.expect("cause").cause;
    assert_eq!(cause().await, 0);
    power(&controller, PowerAction::On, NOW).await;
    assert_eq!(cause().await, 1);
    let status = ask(&controller, &get_chassis_status::Request, NOW).await.expect("status");
    assert_eq!((status.power, status.last_event), (0x61, 0x10));
}

#[tokio::test]
async fn a_slow_power_action_is_accepted_and_the_next_one_is_busy() {
    let machine = MemoryMachine::new(Duration::from_millis(1500));
    let controller = Controller::new(machine.clone());
    power(&controller, PowerAction::On, NOW).await;
    assert_eq!(machine.state().actions, []);
    let request = chassis_control::Request { action: PowerAction::On };
    assert_eq!(ask(&controller, &request, NOW).await, Err(Completion::NODE_BUSY));
    controller.finish().await;
    assert_eq!(machine.state().actions, [PowerAction::On]);
}

/// A machine that is off, behind a controller that kept this.
async fn started(policy: Option<u8>, was_on: Option<bool>) -> (Controller, Arc<MemoryMachine>) {
    let machine = MemoryMachine::new(Duration::ZERO);
    let kept = Nvram { restore_policy: policy, was_on, ..Nvram::default() };
    let controller = Controller::new(machine.clone()).with_nvram(NvramCell::new(kept));
    controller.on_start().await;
    controller.finish().await;
    (controller, machine)
}

#[tokio::test]
async fn the_restore_policy_is_obeyed_when_power_returns() {
    let cases = [
        (None, Some(true), false, 0),
        (Some(0), Some(true), false, 0),
        (Some(1), Some(true), true, 7),
        (Some(1), Some(false), false, 0),
        (Some(1), None, false, 0),
        (Some(2), Some(false), true, 6),
    ];
    for (policy, was_on, on, why) in cases {
        let (controller, machine) = started(policy, was_on).await;
        assert_eq!(machine.state().power == PowerState::On, on, "{policy:?}, {was_on:?}");
        let cause = ask(&controller, &get_restart_cause::Request, NOW).await.expect("cause").cause;
        assert_eq!(cause, why, "{policy:?}, {was_on:?}");
    }
}

#[tokio::test]
async fn a_machine_that_runs_has_not_lost_its_power() {
    let machine = MemoryMachine::new(Duration::ZERO);
    machine.set_power(PowerState::On);
    let kept = Nvram { restore_policy: Some(2), ..Nvram::default() };
    let controller = Controller::new(machine.clone()).with_nvram(NvramCell::new(kept));
    controller.on_start().await;
    assert_eq!(machine.state().actions, []);
}

fn watchdog(actions: u8) -> set_watchdog::Request {
    set_watchdog::Request { usage: 4, actions, pretimeout_s: 0, clear: 0, initial: 600 }
}

#[tokio::test]
async fn the_watchdog_resets_the_machine_and_says_so() {
    let (controller, machine) = controller();
    power(&controller, PowerAction::On, NOW).await;
    let events = controller.nvram().read(|it| it.events.len());
    let unset = ask(&controller, &reset_watchdog::Request, NOW).await;
    assert_eq!(unset, Err(Completion(0x80)));
    ask(&controller, &watchdog(1), NOW).await.expect("set");
    assert_eq!(controller.next_deadline(), None, "set is not started");
    ask(&controller, &reset_watchdog::Request, NOW).await.expect("started");
    assert_eq!(controller.next_deadline(), Some(NOW + MINUTE));
    controller.on_deadline(NOW + MINUTE / 2).await;
    assert_eq!(machine.state().actions, [PowerAction::On]);
    controller.on_deadline(NOW + MINUTE).await;
    assert_eq!(machine.state().actions, [PowerAction::On, PowerAction::Reset]);
    let cause = ask(&controller, &get_restart_cause::Request, NOW).await.expect("cause").cause;
    assert_eq!(cause, 4);
    let state = ask(&controller, &get_watchdog::Request, NOW + MINUTE).await.expect("state");
    assert_eq!((state.usage, state.expired), (4, 1 << 4));
    let added = controller.nvram().read(|it| it.events[events..].to_vec());
    assert_eq!(added.len(), 1);
    assert_eq!(&added[0][10..], &[0x23, 9, 0x6f, 0xc1, 0x04, 0xff]);
}

#[tokio::test]
async fn a_watchdog_sleeps_while_the_machine_is_off() {
    let (controller, machine) = controller();
    power(&controller, PowerAction::On, NOW).await;
    ask(&controller, &watchdog(3), NOW).await.expect("set");
    ask(&controller, &reset_watchdog::Request, NOW).await.expect("started");
    power(&controller, PowerAction::Off, NOW).await;
    assert_eq!(controller.next_deadline(), None);
    controller.on_deadline(NOW + MINUTE).await;
    assert_eq!(machine.state().power, PowerState::Off);
}

#[tokio::test]
async fn resets_forget_what_they_should() {
    let (controller, machine) = controller();
    power(&controller, PowerAction::On, NOW).await;
    power(&controller, PowerAction::Off, NOW).await;
    ask(&controller, &set(false), NOW).await.expect("set");
    ask(&controller, &watchdog(0), NOW).await.expect("set");
    let identify = chassis_identify::Request { seconds: Some(0), forever: true };
    ask(&controller, &identify, NOW).await.expect("identify");
    let events = controller.nvram().export().events;
    controller.reset(Reset::Warm).await;
    let misc =
        async || ask(&controller, &get_chassis_status::Request, NOW).await.expect("status").misc;
    assert!(machine.state().flags.valid, "a warm reset leaves settings alone");
    assert_eq!(misc().await, 0x60);
    assert_eq!(ask(&controller, &get_watchdog::Request, NOW).await.expect("dog").initial, 600);
    controller.reset(Reset::Cold).await;
    assert_eq!(machine.state().flags, BootFlags::NONE);
    assert_eq!(misc().await, 0x40);
    assert_eq!(ask(&controller, &get_watchdog::Request, NOW).await.expect("dog").initial, 0);
    assert_eq!(controller.nvram().export().events, events, "the log stays");
}

#[tokio::test]
async fn one_writer_of_system_info_at_a_time() {
    let (controller, _machine) = controller();
    let set = async |parameter: u8, data: &[u8], now: Duration| {
        let request = set_system_info::Request { parameter, data: data.to_vec() };
        ask(&controller, &request, now).await.map(|_| ())
    };
    let progress = async |now: Duration| {
        let request = get_system_info::Request { parameter: [0, 0], set: 0, block: 0 };
        ask(&controller, &request, now).await.expect("progress").data
    };
    set(0, &[1], NOW).await.expect("begin");
    assert_eq!(progress(NOW).await, [1]);
    assert_eq!(set(0, &[1], NOW).await, Err(Completion::SET_IN_PROGRESS));
    set(0, &[0], NOW).await.expect("complete");
    assert_eq!(progress(NOW).await, [0]);
    assert_eq!(set(0, &[2], NOW).await, Err(Completion::INVALID_FIELD), "nothing to commit");
    set(0, &[1], NOW).await.expect("begin");
    assert_eq!(progress(NOW + MINUTE).await, [0], "forgotten");
}

#[tokio::test]
async fn a_full_log_says_so_until_it_is_cleared() {
    let (controller, _machine) = controller();
    for _ in 0..=EVENTS_MAX {
        controller.nvram().change(|it| it.add_event([2; 16]));
    }
    let info = ask(&controller, &get_sel_info::Request, NOW).await.expect("info");
    assert_eq!((usize::from(info.entries), info.free_bytes), (EVENTS_MAX, 0));
    assert_eq!(info.flags & 0x80, 0x80);
}

#[tokio::test]
async fn a_failed_login_is_an_event() {
    let (controller, _machine) = controller();
    controller.on_failed_login();
    let request = get_sel_entry::Request { reservation: 0, record: 0, offset: 0, count: 0xff };
    let record = ask(&controller, &request, NOW).await.expect("entry").record;
    assert_eq!(&record[10..], &[0x2a, 10, 0x6f, 0xf2, 0x00, 0x01]);
}
