//! What an operator would write for the demo's parts: the gateway in one process, or the edge and the minter in two.

use std::net::SocketAddr;

use crate::demo::app::{self, Places};

/// The name of the file with the vendor's key.
pub(super) const KEY_FILE: &str = "intelliprove.key";

/// Who the edge is, in its certificate.
pub(super) const EDGE: &str = "edge.localhost";

/// Files of the edge: who it is, and whom it believes to be the minter.
pub(super) const EDGE_CERTIFICATE: &str = "edge.pem";
pub(super) const EDGE_KEY: &str = "edge.key";
/// Files of the minter, likewise.
pub(super) const MINTER_CERTIFICATE: &str = "minter.pem";
pub(super) const MINTER_KEY: &str = "minter.key";

/// The folder of policies.
pub(super) const POLICIES: &str = "policies";

/// The people who can sign in, and the group of each.
pub(super) const PEOPLE: [(&str, &str); 3] = [("ada", "clinicians"), ("grace", "clinicians"), ("sam", "visitors")];

/// The policies of whichever process asks them: a visitor may scan, and not see the dashboard.
pub(super) const POLICY_TEXT: &str = r#"// Everybody may use the app, and scan.
@id("everybody-may-scan")
permit(principal, action, resource);

// The dashboard shows health data: it is for clinicians.
@id("dashboard-for-clinicians")
forbid(principal, action in Valet::Action::"use", resource == Valet::Plugin::"health-dashboard")
unless { principal in Valet::Group::"clinicians" };
"#;

/// What of a token those policies read.
pub(super) const CLAIMS_TEXT: &str = "groups = \"groups\"\n";

const PLUGINS: &str = r#"
[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "session"
refresh_ahead = "30m"
embed = ["same-origin"]

[[plugin]]
name = "health-dashboard"
provider = "intelliprove"
mint = "health-dashboard"
path = "/plugins/health-dashboard"
reuse = "session"
refresh_ahead = "30m"
embed = ["same-origin"]
"#;

/// Where programs on this machine reach what browsers talk to.
pub(super) struct At {
    pub gateway: SocketAddr,
    pub app: SocketAddr,
}

/// Who mints.
pub(super) enum Mints {
    /// The gateway, with the key, at the vendor's API.
    Itself(SocketAddr),
    /// The minter at this address. The gateway is an edge.
    Minter(String),
}

/// Of the process that browsers talk to.
pub(super) fn gateway(places: &Places, at: &At, mints: &Mints) -> String {
    let Places { app, idp, idp_here, .. } = places;
    let At { gateway, app: app_here } = at;
    // An app with long silences: the gateway waits through two of its signs of life.
    let silence = 3 * app::SIGN_OF_LIFE.as_secs();
    let issuer = issuer(idp, idp_here);
    let provider = match mints {
        Mints::Itself(api) => keyed(*api),
        Mints::Minter(minter) => format!(
            r#"
[[provider]]
name = "intelliprove"
redirect_hosts = ["plugin.localhost"]
timeout = "3s"

[provider.minter]
url = "https://{minter}"
ca = "{MINTER_CERTIFICATE}"
certificate = "{EDGE_CERTIFICATE}"
key = "{EDGE_KEY}"
"#
        ),
    };
    format!(
        r#"
[server]
public_url = "{app}"
drain = "2s"

[[listener]]
address = "{gateway}"

[admin]
address = "127.0.0.1:0"

[session]
sources = ["header:authorization", "cookie:session"]
login_url = "/login"
{issuer}
# The identity provider says so when somebody signs out everywhere.
[session.logout]

# A visitor may scan, and not see the dashboard.
[policies]
directory = "{POLICIES}"

# The page, and signing in: open to all. With "optional" a cookie that is no good, as after a restart of the demo, would be 401 here too, and
# who has one could not sign in any more. The cookie is cut out here too: this app sets it, and has no need to see it.
[[app]]
name = "app"
path = "/"
upstreams = ["{app_here}"]
session = "none"
read_timeout = "{silence}s"

# Who is signed in, if anybody is.
[[app]]
name = "app-me"
path = "/me"
upstreams = ["{app_here}"]
session = "optional"
claims = {{ x-auth-name = "name" }}

# Only for who is signed in.
[[app]]
name = "app-api"
path = "/api"
upstreams = ["{app_here}"]
session = "required"
claims = {{ x-auth-name = "name" }}
{provider}{PLUGINS}"#
    )
}

/// Of the process that holds the key: the vendor's API is at `api`, the identity provider's keys are at `idp_here`.
pub(super) fn minter(idp: &str, idp_here: &str, api: SocketAddr) -> String {
    let (issuer, provider) = (issuer(idp, idp_here), keyed(api));
    format!(
        r#"
[server]
drain = "2s"

[admin]
address = "127.0.0.1:0"

[session]
{issuer}
# The same policies as the edge's, judged again where the key is.
[policies]
directory = "{POLICIES}"

[minter]
address = "127.0.0.1:0"

[minter.tls]
chain = "{MINTER_CERTIFICATE}"
key = "{MINTER_KEY}"
client_ca = "{EDGE_CERTIFICATE}"

[[minter.edge]]
name = "{EDGE}"
plugins = ["face-scan", "health-dashboard"]
{provider}{PLUGINS}"#
    )
}

fn issuer(idp: &str, idp_here: &str) -> String {
    format!(
        r#"
[[session.issuer]]
issuer = "{idp}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ jwks_url = "{idp_here}/jwks.json", cooldown = "1s" }}
"#
    )
}

/// The vendor, for who holds the key.
fn keyed(api: SocketAddr) -> String {
    format!(
        r#"
[[provider]]
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "http://{api}"
api_key = {{ file = "{KEY_FILE}" }}
redirect_hosts = ["plugin.localhost"]
timeout = "3s"
"#
    )
}
