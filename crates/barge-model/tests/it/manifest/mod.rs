//! `barge.yaml`: what is read, what it means in an environment, and what a mistake says.

mod fuzz;
mod hostile;
mod image;
mod mistakes;
mod read;
mod resolve;
mod schema;
mod units;
