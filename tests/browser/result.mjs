// A result of the lab, made up: what `roomcast lab sweep` leaves as results.json.

/** Two sweeps over the network and one in process with two knobs; `points` of each. */
export function madeUpResult() {
  const values = [1, 3, 10, 32, 100, 316, 1000, 3162, 10000];
  const sweep = (name, knob, unit, cost, second) => ({
    name,
    target: second ? "library" : "network",
    knob: { name: knob, unit },
    second_knob: second,
    points: values.map((value) => point(value, cost(value))),
    kept: [{ name: "a_knob_with_a_rather_long_name", value: "and_a_value_that_does_not_end_so_soon" }],
    drive: "closed",
  });
  return {
    format: 1,
    roomcast: "0.0.0",
    machine: { cpu: "A processor with a name as long as they are, at 3.00 GHz", cores: 2, kernel: "Linux", memory: 2 ** 34 },
    started: "2026-11-29T12:00:00Z",
    command: `roomcast lab sweep --knob subscribers=1..10000 --out ${"a_long_folder/".repeat(12)}`,
    scenario: { name: "made-up", about: "nothing was measured", toml: `name = "made-up" # ${"x".repeat(300)}\n`, seed: 1 },
    series: [
      sweep("network-subscribers", "subscribers", "subscribers a room", (value) => 90 + 2000 / value),
      sweep("network-rooms", "rooms", "rooms", (value) => (value < 900 ? 100 : value / 9)),
      sweep("library-size-ref", "size", "bytes", () => 1.1, { name: "read", value: "ref" }),
      sweep("library-size-clone", "size", "bytes", (value) => 10 + value / 20, { name: "read", value: "clone" }),
    ],
    notes: [],
  };
}

function point(value, cost) {
  return { value, label: String(value), repeats: [0.98, 1, 1.03].map((chance) => run(cost * chance)) };
}

function run(cost) {
  const delivered = Math.round(2e9 / cost);
  return {
    seconds: 1,
    published: Math.round(delivered / 10),
    delivered,
    expected: delivered,
    latency: { count: delivered, p50: 50_000, p90: 70_000, p99: 200_000, p999: 700_000, max: 3_000_000 },
    cpu: { seconds_total: 1.95, per_core: [0.99, 0.96] },
    memory: {
      resident_start: 9_000_000,
      resident_end: 9_100_000,
      resident_series: [
        [0, 9_000_000],
        [1, 9_100_000],
      ],
    },
    context_switches: { voluntary: 1000, involuntary: 10 },
    checks: { order_violations: 0, duplicates: 0, losses: 0, subscribers: 10 },
    is_lab_bound: cost > 1000,
    bottleneck: cost > 1000 ? "the lab's readers were busy all the time" : null,
  };
}
