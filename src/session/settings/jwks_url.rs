//! `keys.jwks_url`: where a key set is.

use std::fmt;

use url::Url;

use super::TENANT;
use crate::setting::{FieldFault, TextSetting, text_setting};
use crate::web::secure_url;

/// The address of a key set (RFC 7517), `https://`, and `http://` on loopback alone. It may hold `{tenant}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    text: Box<str>,
    url: Option<Box<Url>>,
}

impl JwksUrl {
    /// The URL; `None`: it holds `{tenant}`, or is none with this tenant.
    pub fn url(&self) -> Option<&Url> {
        self.url.as_deref()
    }

    /// Whether it is another one for each tenant.
    pub fn holds_tenant(&self) -> bool {
        self.text.contains(TENANT)
    }

    /// That of one tenant.
    pub(super) fn of_tenant(&self, tenant: &str) -> Self {
        let text = self.text.replace(TENANT, tenant);
        Self { url: secure_url(&text).ok().map(Box::new), text: text.into() }
    }
}

impl fmt::Display for JwksUrl {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(JwksUrl);

impl TextSetting for JwksUrl {
    const EXAMPLE: &'static str = "https://idp.example.com/jwks.json";

    fn read(text: &str) -> Result<Self, FieldFault> {
        let holds_tenant = text.contains(TENANT);
        let url = secure_url(&text.replace(TENANT, "tenant")).map_err(FieldFault::of_value)?;
        Ok(Self { text: text.into(), url: (!holds_tenant).then(|| Box::new(url)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_key_set_is_known_once_its_tenant_is() {
        let plain = JwksUrl::read("https://idp.example/keys").unwrap();
        assert_eq!(plain.url().unwrap().as_str(), "https://idp.example/keys");
        let each = JwksUrl::read("https://idp.example/{tenant}/keys").unwrap();
        assert!(each.holds_tenant() && each.url().is_none());
        assert_eq!(each.of_tenant("red").url().unwrap().as_str(), "https://idp.example/red/keys");
        // A host that ends in a number is an IPv4 address, or none (WHATWG URL, section 3.5).
        let host = JwksUrl::read("https://{tenant}/keys").unwrap();
        assert!(host.of_tenant("1.2.3.999").url().is_none());
        for wrong in ["", "http://idp.example/", "https://u@idp.example/", "idp.example/{tenant}", "ftp://idp.example"]
        {
            assert!(JwksUrl::read(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
