//! A result of which every figure is known: what a lab might have measured, made by formulas.

use roomcast_lab::result::{
    Checks, ContextSwitches, Cpu, FORMAT, Fairness, Knob, Latency, Machine, Memory, OwnCost, Point, Report, Run,
    Scenario, Series, Setting, Target,
};

type Cost = fn(f64) -> f64;

/// A report with a sweep of every kind; repeats differ by a few per cent, the same at every call.
pub(crate) fn report() -> Report {
    let subscribers = [1.0, 3.0, 10.0, 32.0, 100.0, 316.0, 1_000.0, 3_162.0, 10_000.0];
    let sizes = [16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0];
    let mut series = vec![
        sweep(Target::Network, "subscribers", "subscribers a room", &subscribers, |n| Made {
            cost: 90.0 + 2_000.0 / n,
            busy: (0.2 + n / 400.0).min(1.94),
            resident: 9e6 + 1_480.0 * n,
            latency: 80e3 + 220.0 * n,
            ..Made::default()
        }),
        sweep(Target::Library, "subscribers", "subscribers a room", &subscribers, |n| Made {
            cost: 1.1 + 11.0 / n,
            resident: 4e6 + 210.0 * n,
            is_lab_bound: n < 5.0,
            ..Made::default()
        }),
        sweep(Target::Library, "rooms", "rooms", &subscribers, |n| Made {
            cost: if n < 900.0 { 30.0 } else { 30.0 * (n / 900.0).powf(0.7) },
            resident: 4e6 + 900.0 * n,
            ..Made::default()
        }),
        sweep(Target::Network, "churners", "churners", &subscribers[..7], |n| Made {
            cost: 120.0 + 0.9 * n,
            joins: 1e6 * n / (n + 4.0),
            missed: if n > 500.0 { 0.02 } else { 0.0 },
            ..Made::default()
        }),
        sweep(Target::Library, "shards", "shards", &[1.0, 2.0], |n| Made {
            cost: 1.4,
            busy: n * 0.97,
            rate: 9e5 * n,
            ..Made::default()
        }),
        words("wait", &["spin", "handler", "park", "blocking"], |index| Made {
            cost: [1.2, 0.8, 9.0, 31.0][index],
            ..Made::default()
        }),
    ];
    let reads: [(&str, Cost); 3] = [("ref", |_| 1.1), ("arc", |_| 9.4), ("clone", |n| 14.0 + n / 20.0)];
    for (read, cost) in reads {
        let mut of_read =
            sweep(Target::Library, "size", "bytes", &sizes, |n| Made { cost: cost(n), ..Made::default() });
        of_read.name = format!("library-size-{read}");
        of_read.second_knob = Some(setting("read", read));
        series.push(of_read);
    }
    Report { series, ..around() }
}

/// A report of one run of two repeats, without a knob, with series over time.
pub(crate) fn run() -> Report {
    let mut series =
        sweep(Target::Network, "", "", &[0.0], |_| Made { cost: 95.0, busy: 1.4, joins: 3e5, ..Made::default() });
    "network".clone_into(&mut series.name);
    Report { series: vec![series], ..around() }
}

fn around() -> Report {
    Report {
        format: FORMAT,
        roomcast: "0.0.0".to_owned(),
        machine: Machine {
            cpu: "Made & Up <CPU>".to_owned(),
            cores: 2,
            kernel: "Linux 6.18".to_owned(),
            memory: 24 << 30,
        },
        started: "2026-11-29T12:00:00Z".to_owned(),
        command: "roomcast lab sweep --knob subscribers=1..10000 --out result".to_owned(),
        scenario: Scenario {
            name: "fan-out".to_owned(),
            about: "one room, many who listen".to_owned(),
            toml: "name = \"fan-out\"\n[load]\nsize = 128\n".to_owned(),
            seed: 7,
        },
        own_cost: Some(OwnCost { publish_ns: 18.0, receive_ns: 3.2, network_receive_ns: Some(41.0) }),
        notes: vec!["Two cores are shared by the server and the lab.".to_owned()],
        ..Report::default()
    }
}

/// What a point is made from.
struct Made {
    cost: f64,
    rate: f64,
    busy: f64,
    resident: f64,
    latency: f64,
    joins: f64,
    missed: f64,
    is_lab_bound: bool,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            cost: 1.0,
            rate: 0.0,
            busy: 1.9,
            resident: 5e6,
            latency: 40e3,
            joins: 0.0,
            missed: 0.0,
            is_lab_bound: false,
        }
    }
}

fn sweep(target: Target, knob: &str, unit: &str, values: &[f64], made: impl Fn(f64) -> Made) -> Series {
    let point =
        |value: &f64| Point { value: *value, label: value.to_string(), repeats: repeats(&made(*value), *value as u64) };
    Series {
        name: format!("{target}-{knob}"),
        target,
        knob: Knob { name: knob.to_owned(), unit: unit.to_owned() },
        points: values.iter().map(point).collect(),
        kept: vec![setting("size", "128"), setting("rooms", "1")],
        drive: "closed".to_owned(),
        ..Series::default()
    }
}

fn words(knob: &str, values: &[&str], made: impl Fn(usize) -> Made) -> Series {
    let mut series = sweep(Target::Library, knob, "", &[], |_| Made::default());
    let point = |(index, label): (usize, &&str)| Point {
        value: index as f64,
        label: (*label).to_owned(),
        repeats: repeats(&made(index), index as u64),
    };
    series.points = values.iter().enumerate().map(point).collect();
    series
}

fn setting(name: &str, value: &str) -> Setting {
    Setting { name: name.to_owned(), value: value.to_owned() }
}

fn repeats(made: &Made, seed: u64) -> Vec<Run> {
    (0..3).map(|repeat| run_of(made, 1.0 + ((seed * 31 + repeat * 17) % 11) as f64 / 200.0 - 0.025)).collect()
}

fn run_of(made: &Made, by_chance: f64) -> Run {
    let cost = made.cost * by_chance;
    let rate = if made.rate > 0.0 { made.rate } else { made.busy * 1e9 / cost };
    let delivered = (rate * 2.0 * (1.0 - made.missed)) as u64;
    let latency = made.latency * by_chance;
    let resident = made.resident * (1.0 + (by_chance - 1.0) / 10.0);
    let of = |times: f64| (latency * times) as u64;
    Run {
        seconds: 2.0,
        published: (rate / 50.0) as u64,
        delivered,
        expected: (rate * 2.0) as u64,
        latency: Latency {
            count: delivered,
            p50: of(1.0),
            p90: of(1.6),
            p99: of(4.0),
            p999: of(11.0),
            max: of(40.0),
            histogram: (0..40)
                .map(|step| (of(0.4 * 1.12f64.powi(step)), 100 + step as u64 * (40 - step as u64)))
                .collect(),
        },
        cpu: Cpu {
            seconds_total: made.busy * 2.0,
            per_core: vec![(made.busy * 0.53).min(0.99), made.busy - (made.busy * 0.53).min(0.99)],
            target_seconds: Some(cost * delivered as f64 / 1e9),
            lab_seconds: Some(0.3),
            lab_threads: 1,
            lab_busiest: Some(if made.is_lab_bound { 0.99 } else { 0.2 }),
            ..Cpu::default()
        },
        memory: Memory {
            resident_start: resident as u64,
            resident_end: resident as u64,
            resident_series: (0..20)
                .map(|step| (f64::from(step) / 10.0, (resident * (1.0 + f64::from(step % 3) / 900.0)) as u64))
                .collect(),
            heap_live_start: Some((resident * 0.7) as u64),
            heap_live_end: Some((resident * 0.7) as u64),
        },
        context_switches: Some(ContextSwitches {
            voluntary: (20_000.0 * by_chance) as u64,
            involuntary: (900.0 * by_chance) as u64,
        }),
        fairness: Some(Fairness { min: 0.99, median: 1.0, max: 1.0, jain: 0.999 }),
        checks: Checks { subscribers: 100, ..Checks::default() },
        timeline: (0..=20_u32)
            .map(|step| (step, u64::from(step)))
            .map(|(step, count)| (f64::from(step) / 10.0, (rate / 500.0) as u64 * count, delivered / 20 * count))
            .collect(),
        latency_series: (1..=20)
            .map(|step| (f64::from(step) / 10.0, of(1.0), of(4.0 + f64::from(step % 5) / 10.0)))
            .collect(),
        is_lab_bound: made.is_lab_bound,
        bottleneck: made.is_lab_bound.then(|| "the lab's thread was busy all the time".to_owned()),
        joins: (made.joins * 2.0) as u64,
        join_latency: (made.joins > 0.0).then(|| Latency {
            count: 10,
            p50: of(0.1),
            p99: of(0.4),
            ..Latency::default()
        }),
        ..Run::default()
    }
}
