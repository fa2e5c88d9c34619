//! Power cuts: of what a process has written, a disk keeps what was synced, and of the rest nothing, or anything.

mod disk;

use std::env;
use std::fs;

use self::disk::Disk;
use crate::crash::{Told, check, live_and_die};
use crate::failing_disk::compile;
use crate::support::{Dice, Folder};

/// Rounds in the ordinary tests; `make crash` asks for more.
const ROUNDS: u64 = 12;

/// How many times as many there are where the power never went while a write was on its way, which shows nothing.
const ROUNDS_MORE: u64 = 10;

/// Power goes while a process publishes. What it has acknowledged as stored is there when it comes back, and the file is sound;
/// the next process goes on with it, until the power goes again.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let rounds = env::var("ROOMCAST_POWER_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut dice = Dice::new(Dice::seed(), 0);
    let tools = Folder::new();
    let shim = compile(include_str!("shim.c"), &tools.path().join("power.so"));
    let (mut folder, mut told) = (Folder::new(), Told::default());
    let (mut lost, mut acknowledged) = (0, 0);
    let mut round = 0;
    while round < rounds || round < rounds * ROUNDS_MORE && (acknowledged == 0 || lost == 0) {
        let log = tools.path().join(format!("log-{round}"));
        let variables = [
            ("LD_PRELOAD", shim.clone()),
            ("ROOMCAST_POWER_FOLDER", folder.path().to_owned()),
            ("ROOMCAST_POWER_LOG", log.clone()),
        ];
        let mut disk = Disk::of(folder.path());
        let lines = live_and_die(&folder.file(), round, &mut dice, &variables);
        lines.iter().for_each(|line| told.take(line));
        acknowledged += lines.iter().filter(|line| line.starts_with("stored")).count();
        disk.play(&fs::read(&log).unwrap_or_default());
        let _ = fs::remove_file(&log);
        let after_cut = Folder::new();
        let is_lucky = dice.once_in(2);
        lost += disk.cut_power(after_cut.path(), is_lucky.then_some(&mut dice));
        folder = after_cut;
        check(&folder, &told, round);
        round += 1;
    }
    assert!(
        acknowledged > 0 && lost > 0,
        "{acknowledged} messages were acknowledged, {lost} writes lost: nothing is shown"
    );
    eprintln!(
        "power | {round} rounds of power cuts, {lost} writes that were not synced lost: {acknowledged} messages acknowledged as \
         stored and all there"
    );
}
