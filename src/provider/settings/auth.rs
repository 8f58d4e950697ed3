//! `auth`: how a call shows the API key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `auth`: exactly one of `header`, `bearer`, `query`, `basic`, `oauth2`, `login`, `hmac`, `sigv4`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// The name of the header field that is the key.
    pub header: Option<String>,
    /// Text before the key in that header field, such as `Token token=`.
    pub prefix: Option<String>,
    /// `true`: `Authorization: Bearer KEY`.
    pub bearer: Option<bool>,
    /// The name of the query parameter that is the key.
    pub query: Option<String>,
    /// The user name of `Authorization: Basic`; the key is the password.
    pub basic: Option<String>,
    /// An access token by OAuth2 client credentials; the key is the client's secret, or its private key.
    pub oauth2: Option<Oauth2Settings>,
    /// An access token by the vendor's own log-in; the key is the password.
    pub login: Option<LoginSettings>,
    /// A signature over the call by HMAC; the key signs.
    pub hmac: Option<HmacSettings>,
    /// AWS Signature Version 4; the key is the secret access key.
    pub sigv4: Option<Sigv4Settings>,
}

/// `auth.oauth2` (RFC 6749, section 4.4): one token for all calls, renewed before its end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth2Settings {
    /// The token endpoint; the secret goes there only.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The scope asked for.
    pub scope: Option<String>,
    /// The audience asked for, where the vendor wants one.
    pub audience: Option<String>,
    /// How the client shows who it is: `basic`, `post`, `private_key_jwt`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The algorithm of `private_key_jwt`; left out, the usual one of the key.
    pub algorithm: Option<String>,
    /// `kid` of `private_key_jwt`.
    pub key_id: Option<String>,
}

/// How an OAuth2 client shows who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Id and secret in `Authorization: Basic`.
    #[default]
    Basic,
    /// Id and secret in the form.
    Post,
    /// A JWT signed with the client's private key (RFC 7523).
    PrivateKeyJwt,
}

/// `auth.login`: a call that answers an access token, made once for all calls.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginSettings {
    /// The path below `base_url`; the method is `POST`.
    pub path: String,
    /// A JSON body, in which one text is `{api_key}`.
    pub json: Option<serde_json::Value>,
    /// A form, in which one field is `{api_key}`.
    pub form: Option<BTreeMap<String, String>>,
    /// Where the token stands in the answer: `json:/pointer`.
    pub token: String,
    /// Where its life in seconds stands: `json:/pointer`; left out, it is asked for again after five minutes.
    pub expires: Option<String>,
    /// Text before the token in `Authorization`.
    #[serde(default = "bearer")]
    pub prefix: String,
}

impl Eq for LoginSettings {}

/// `auth.hmac`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacSettings {
    /// `sha256`, `sha384` or `sha512`.
    pub algorithm: String,
    /// What is signed, with `{timestamp}`, `{method}`, `{path}`, `{query}`, `{path_and_query}`, `{body}`.
    pub text: String,
    /// The header field of the signature.
    pub header: String,
    /// Text before the signature in that field.
    #[serde(default)]
    pub prefix: String,
    /// `hex` or `base64`.
    pub encoding: String,
    /// The header field that carries `{timestamp}`, in seconds since 1970.
    pub timestamp_header: Option<String>,
}

/// `auth.sigv4`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sigv4Settings {
    /// Such as `eu-west-1`.
    pub region: String,
    /// Such as `quicksight`.
    pub service: String,
    /// The id of the access key.
    pub access_key_id: String,
}

fn bearer() -> String {
    "Bearer ".into()
}
