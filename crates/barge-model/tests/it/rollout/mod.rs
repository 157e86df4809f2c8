//! The rollout machine: tables, random runs and a model check, all in one small simulated world with one judge.

mod cases;
mod explorer;
mod fixtures;
mod judge;
mod model_check;
mod mutants;
mod observation;
mod plan;
mod random;
mod run;
mod scene;
mod states;
mod stored;
mod waiting;
mod world;
