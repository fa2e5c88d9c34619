//! Sweeps of which the answer is known, with noise from a seed.

use super::{Finding, Growth, Law, Limit, Load, Point, examine, limit, things};
use crate::rng::Rng;

/// Noise of a seed, distributed as errors of measurement are.
struct Noise(Rng);

impl Noise {
    fn normal(&mut self) -> f64 {
        let (one, other) = (self.0.share().max(1e-12), self.0.share());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    }
}

/// Values of a knob over decades from 1, `per_decade` of them in each.
fn knobs(decades: u32, per_decade: u32) -> Vec<f64> {
    (0..=decades * per_decade).map(|index| 10f64.powf(f64::from(index) / f64::from(per_decade)).round()).collect()
}

/// A sweep with three repeats a point, each off by `noise`, and each point off by half of it.
fn sweep(knobs: &[f64], noise: f64, seed: u64, cost: impl Fn(f64) -> f64) -> Vec<Point> {
    let mut random = Noise(Rng::new(seed, 0));
    let point = |knob: &f64| {
        let place = cost(*knob) * (random.normal() * noise / 2.0).exp();
        Point::new(*knob, (0..3).map(|_| place * (random.normal() * noise).exp()).collect::<Vec<_>>())
    };
    knobs.iter().map(point).collect()
}

type Cost = fn(f64) -> f64;

/// How many of a hundred sweeps are found to be so.
fn share(knobs: &[f64], noise: f64, cost: impl Fn(f64) -> f64, is_so: impl Fn(&Finding) -> bool) -> usize {
    (0..100)
        .filter(|seed| examine(&sweep(knobs, noise, seed * 7 + 1, &cost)).is_some_and(|found| is_so(&found)))
        .count()
}

fn is_law(finding: &Finding, wanted: Law) -> bool {
    matches!(finding.growth, Growth::Lawful(curve) if curve.law == wanted)
}

fn exponent_of(finding: &Finding) -> Option<f64> {
    match finding.growth {
        Growth::Lawful(curve) => match curve.law {
            Law::Power { exponent } => Some(exponent),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn each_law_is_found_under_noise() {
    let knobs = knobs(4, 2);
    let cases: [(Law, Cost); 6] = [
        (Law::Constant, |_| 80.0),
        (Law::Logarithmic, |n| 20.0 + 30.0 * n.ln()),
        (Law::Linear, |n| 3.0 * n),
        (Law::Linear, |n| 500.0 + 3.0 * n),
        (Law::LinearLogarithmic, |n| 20.0 + 3.0 * n * n.ln()),
        (Law::Quadratic, |n| 40.0 + 0.2 * n * n),
    ];
    for (law, cost) in cases {
        let found = share(&knobs, 0.04, cost, |finding| is_law(finding, law));
        assert!(found >= 90, "{law:?} at 200 was found {found} times of 100");
    }
}

#[test]
fn an_amortised_cost_is_found() {
    let found = share(&knobs(4, 2), 0.04, |n| 2.0 + 90.0 / n, |finding| is_law(finding, Law::Amortised));
    assert!(found >= 90, "found {found} times of 100");
}

#[test]
fn a_power_law_tells_its_exponent_and_how_sure_it_is() {
    for exponent in [0.5, 0.7, 1.5] {
        let is_near = |finding: &Finding| exponent_of(finding).is_some_and(|found| (found - exponent).abs() < 0.06);
        let found = share(&knobs(4, 2), 0.05, |n| 7.0 * n.powf(exponent), is_near);
        assert!(found >= 90, "n^{exponent} was found {found} times of 100");
        let covers = |finding: &Finding| {
            finding.exponent.is_some_and(|(found, margin)| (found - exponent).abs() <= margin && margin < 0.2)
        };
        let covered = share(&knobs(4, 2), 0.05, |n| 7.0 * n.powf(exponent), covers);
        assert!(covered >= 88, "the margin at 95 % held n^{exponent} {covered} times of 100");
    }
}

#[test]
fn noise_alone_is_flat() {
    for noise in [0.01, 0.05, 0.1] {
        for knobs in [knobs(2, 3), knobs(5, 1), knobs(4, 3)] {
            let flat = share(&knobs, noise, |_| 250.0, Finding::is_flat);
            assert!(flat >= 90, "noise of {noise} at {} points was flat {flat} times of 100", knobs.len());
        }
    }
}

#[test]
fn much_noise_is_no_law() {
    let knobs = knobs(4, 2);
    let claims = share(&knobs, 0.9, |n| n.powf(0.3), |finding| matches!(finding.growth, Growth::Lawful(_)));
    assert!(claims <= 25, "a law was named {claims} times of 100 where repeats differ by their own size");
}

#[test]
fn a_knee_is_found_near_its_place() {
    let cost = |n: f64| if n < 1_000.0 { 100.0 } else { 100.0 * (n / 1_000.0).powf(1.6) };
    let is_there = |finding: &Finding| matches!(finding.growth, Growth::Bent(knee) if (500.0..2_000.0).contains(&knee.at) && knee.before.abs() < 0.15);
    let found = share(&knobs(5, 3), 0.05, cost, is_there);
    assert!(found >= 95, "the knee was found {found} times of 100");
}

#[test]
fn saturating_throughput_has_a_knee() {
    let rate = |n: f64| (1_000.0 * n).min(50_000.0);
    let is_there = |finding: &Finding| matches!(finding.growth, Growth::Bent(knee) if (25.0..100.0).contains(&knee.at) && knee.after.abs() < 0.2);
    let found = share(&knobs(4, 2), 0.04, rate, is_there);
    assert!(found >= 90, "the knee was found {found} times of 100");
}

#[test]
fn a_plateau_before_a_rise_is_not_called_quadratic() {
    let step = |n: f64| if n < 3_000.0 { 100.0 } else { 420.0 };
    let line = |n: f64| 100f64.max(n / 20.0);
    let steep = |n: f64| if n < 3_000.0 { 100.0 } else { 100.0 * (n / 3_000.0).powi(2) };
    let calls_it_worse =
        |finding: &Finding| matches!(finding.growth, Growth::Lawful(curve) if curve.law.is_worse_than_n_log_n());
    for knobs in [knobs(4, 2), knobs(4, 3), knobs(5, 1)] {
        for (name, cost) in [("step", &step as &dyn Fn(f64) -> f64), ("line", &line), ("steep", &steep)] {
            let worse = share(&knobs, 0.04, cost, calls_it_worse);
            assert!(worse <= 5, "a {name} at {} points was called worse {worse} times of 100", knobs.len());
        }
    }
}

#[test]
fn smooth_laws_have_no_knee() {
    let laws: [Cost; 4] = [|n| 3.0 * n, |n| 400.0 + n, |n| n.powf(0.6), |n| n * (1.0 + n.ln())];
    for (index, cost) in laws.into_iter().enumerate() {
        let bent = share(&knobs(4, 2), 0.06, cost, |finding| matches!(finding.growth, Growth::Bent(_)));
        assert!(bent <= 5, "law {index} was bent {bent} times of 100");
    }
}

#[test]
fn too_few_points_are_said_to_be() {
    let few = [Point::new(1.0, [5.0]), Point::new(2.0, [9.0]), Point::new(1_000.0, [5_000.0])];
    let narrow: Vec<_> = (10..20).map(|n| Point::new(f64::from(n), [f64::from(n)])).collect();
    for points in [&few[..], &narrow] {
        let finding = examine(points).expect("a finding");
        assert!(matches!(finding.growth, Growth::TooFew), "{finding:?}");
        let sentence = finding.sentence("A publish", "subscribers");
        assert!(sentence.contains("too few points"), "{sentence}");
    }
    assert!(examine(&[]).is_none());
    assert!(examine(&[Point::new(0.0, [1.0]), Point::new(3.0, [0.0]), Point::new(4.0, [])]).is_none());
}

#[test]
fn sentences_carry_figures() {
    let linear = examine(&sweep(&knobs(4, 2), 0.0, 1, |n| 2.0 * n)).expect("a finding");
    let sentence = linear.sentence("A publish", "subscribers");
    assert!(sentence.contains("linear") && sentence.contains("from 1 to 10,000 subscribers"), "{sentence}");
    let flat = examine(&sweep(&knobs(4, 2), 0.02, 1, |_| 2.0)).expect("a finding");
    let sentence = flat.sentence("A publish", "subscribers");
    assert!(sentence.contains("does not depend on subscribers") && sentence.contains(" %"), "{sentence}");
    assert!(flat.noise > 0.005 && flat.noise < 0.05, "{}", flat.noise);
}

#[test]
fn what_ran_out_is_told_apart() {
    let load = Load { cores: 2.0, busy: 1.95, ..Load::default() };
    assert_eq!(limit(&load), Limit::Cores);
    assert_eq!(limit(&Load { generator: Some(0.2), ..load }), Limit::Cores);
    assert_eq!(limit(&Load { generator: Some(1.3), ..load }), Limit::Generator);
    let one_thread = Load { busy: 1.3, generator: Some(0.95), generator_threads: Some(1.0), ..load };
    assert_eq!(limit(&one_thread), Limit::Generator);
    assert_eq!(limit(&Load { busy: 0.5, memory: 0.95, ..load }), Limit::Memory);
    assert_eq!(limit(&Load { busy: 0.5, missed: 0.2, ..load }), Limit::Readers);
    let idle = Load { busy: 0.5, is_paced: true, ..load };
    assert_eq!(limit(&idle), Limit::Nothing);
    assert_eq!(limit(&Load { is_paced: false, ..idle }), Limit::Waiting, "it went as fast as it could");
    for is_paced in [true, false] {
        let nearly = Load { busy: 1.78, is_paced, ..load };
        assert_eq!(limit(&nearly), Limit::NearlyCores);
        assert!(!limit(&nearly).sentence().contains("room for more"), "nine tenths of the cores were busy");
    }
}

#[test]
fn numbers_and_powers_are_written_as_people_do() {
    assert_eq!(things(1.0, "subscribers a room"), "1 subscriber a room");
    assert_eq!(things(1_000.0, "subscribers a room"), "1,000 subscribers a room");
    assert_eq!(things(1.0, "bytes"), "1 byte");
    assert_eq!(Law::Power { exponent: 0.74 }.formula(), "n⁰·⁷⁴");
    assert_eq!(Law::Power { exponent: -1.5 }.formula(), "n⁻¹·⁵⁰");
}
