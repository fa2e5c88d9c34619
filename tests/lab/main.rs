//! The load lab: its scenarios, short runs whose counts are known, a faulty delivery that it must find, and bad input.

mod cli;
mod faulty;
mod report;
mod report_fixture;
mod runs;
mod scenarios;
