//! One module for each command, and what several of them share.

pub(crate) mod append;
pub(crate) mod filters;
pub(crate) mod get;
pub(crate) mod index;
pub(crate) mod logs;
pub(crate) mod query;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod verify;
