//! A world in one seed: the shipped sessions, delivery, engines, archive and shards, over doubles of socket, disk and clock, on a
//! runtime whose clock stands still; and a shadow model that says what must hold. Only there in tests.

mod actions;
mod backend;
mod client;
mod clock;
mod dice;
mod disk;
mod events;
mod handing_over;
mod heard;
mod kind;
mod model;
mod plan;
mod reload;
mod rest;
mod server;
mod site;
mod stay;
mod store;
mod temper;
mod terms;
mod tests;
mod threads;
mod token;
mod world;
