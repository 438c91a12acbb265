//! One module for each command.

pub(crate) mod append;
pub(crate) mod get;
pub(crate) mod query;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod verify;
