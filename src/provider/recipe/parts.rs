//! What a recipe consists of.

use http::HeaderName;

use super::mint::MintCall;
use crate::provider::auth::Auth;
use crate::provider::base_url::BaseUrl;
use crate::provider::call::CallTemplate;
use crate::provider::redirect_hosts::RedirectHosts;
use crate::provider::settings::AcceptIf;

/// The recipe itself.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Parts {
    pub(in crate::provider) base: Base,
    pub(in crate::provider) auth: Auth,
    pub(in crate::provider) secret_headers: Vec<HeaderName>,
    pub(in crate::provider) redirect_hosts: RedirectHosts,
    pub(in crate::provider) register: Option<Register>,
    /// Sorted by name.
    pub(in crate::provider) mints: Vec<MintCall>,
    pub(in crate::provider) revoke: Option<CallTemplate>,
    pub(in crate::provider) forget: Option<CallTemplate>,
}

/// `base_url`; empty where nothing is called.
#[derive(Clone, Debug, Default)]
pub(in crate::provider) struct Base {
    scheme: String,
    /// `host` or `host:port`.
    authority: String,
    /// Without a `/` at its end; empty for the root.
    pub(in crate::provider) path: String,
}

/// `[provider.register]`.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Register {
    pub(in crate::provider) call: CallTemplate,
    pub(in crate::provider) accept: Vec<u16>,
    pub(in crate::provider) accept_if: Vec<AcceptIf>,
    /// What mints want to know of its answer.
    pub(in crate::provider) wanted: Vec<Box<str>>,
}

impl Base {
    /// `scheme://host[:port]`.
    pub(in crate::provider) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// `scheme://host[:port]/path`; empty where nothing is called.
    pub(in crate::provider) fn url(&self) -> String {
        if self.authority.is_empty() { String::new() } else { self.origin() + &self.path }
    }

    /// `host` or `host:port`.
    pub(in crate::provider) fn authority(&self) -> &str {
        &self.authority
    }
}

impl From<&BaseUrl> for Base {
    fn from(url: &BaseUrl) -> Self {
        Self { scheme: url.scheme().into(), authority: url.authority(), path: url.path().into() }
    }
}
