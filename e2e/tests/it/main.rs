//! Scenarios: one file for each story.

mod adoption;
mod api_page;
mod applications;
mod chaos;
mod commands;
mod demo;
mod registry;
mod support;
mod terminal;
mod up;
