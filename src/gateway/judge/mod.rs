//! The decision about one request: which route, whose session, what the policies permit, redirect, forward or refuse.

pub(super) mod app_route;
pub(super) mod authenticate;
pub(super) mod cross_site;
pub(super) mod decide;
pub(super) mod login;
pub(super) mod negotiate;
pub(super) mod original;
pub(super) mod path;
pub(super) mod permission;
pub(super) mod plugin_route;
pub(super) mod preflight;
pub(super) mod request_log;
pub(super) mod routes;
