//! A Deployment that was there before becomes a service of Barge's, without an interruption.
//!
//! Data flow: [`Source::look`] asks the cluster what there is → [`running`] which image that is → [`read`] what the service has to be so
//! that the same runs, and what of the Deployment has no place in it → [`adopt`] writes the service. [`approve`] and [`undo`] are the words
//! that come later. All of `read` is pure.
//!
//! It leaves out what follows from those words: the operator takes instances from the Deployment, and gives them back.

mod command;
mod environment;
mod image;
mod losses;
mod pods;
mod read;
mod refusal;
mod resources;
mod service;
mod source;

pub use image::{Running, Runtime, running};
pub use losses::Loss;
pub use read::{Asked, Reading, read};
pub use refusal::Refusal;
pub use service::{
    Adopted, ServiceError, Who, adopt, approve, environment_of, find, forget, name_of_caller, spec, undo,
};
pub use source::{LookError, Source};
